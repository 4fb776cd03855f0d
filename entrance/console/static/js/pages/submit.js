// Submit: a form for each executor, made from its schema, or its JSON.
import { html, useEffect, useMemo, useState } from "../lib.js";
import { call, post, session } from "../api.js";
import { useLoad, useSignal } from "../load.js";
import { go, setQuery } from "../route.js";
import { t } from "../i18n.js";
import { Fault, Loading, toast } from "../ui.js";
import { Fields, RawJson, rawOf, valuesOf } from "../parts/form.js";
import { LEVELS, levelOf } from "../state.js";
import { told } from "../words-zh.js";

const ORDER = ["scan", "pack", "daggen", "transfer", "verify", "extract", "command"];
const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
const parsed = (text) => { try { return JSON.parse(text || "{}"); } catch { return {}; } };

export function Submit({ query }) {
  const { user } = useSignal(session);
  const { data, error, reload } = useLoad(async (signal) => {
    const [{ executors }, before] = await Promise.all([call("/executors", { signal }),
      query.from ? call(`/jobhistory/${encodeURIComponent(query.from)}/get`, { signal }) : null]);
    return { executors: executors.sort((a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name)), before: before?.task };
  }, [query.from]);
  const [json, setJson] = useState(false);
  const [raw, setRaw] = useState({});
  const [text, setText] = useState("{}");
  const [valid, setValid] = useState(true);
  const [more, setMore] = useState({ priority: "NORMAL", creator: "CONSOLE", running: "", queuing: "", retries: "" });
  const [faults, setFaults] = useState({});
  const [refused, setRefused] = useState(null);
  const [busy, setBusy] = useState(false);

  const name = query.executor ?? data?.before?.engineType ?? data?.executors[0]?.name;
  const executor = data?.executors.find((one) => one.name === name);
  const given = useMemo(() => parsed(query.params ?? data?.before?.executionCode), [query.params, data?.before]);
  useEffect(() => {
    if (!executor) return;
    setRaw(rawOf(executor.schema, given));
    setText(JSON.stringify(given, null, 2));
    setFaults({});
    setRefused(null);
  }, [executor?.name, given]);
  useEffect(() => {
    if (data?.before) setMore((old) => ({ ...old, priority: levelOf(data.before.priority) }));
  }, [data?.before]);

  if (!data) return error ? html`<${Fault} error=${error} retry=${reload} />` : html`<${Loading} />`;

  const turn = () => {
    if (json) setRaw(rawOf(executor.schema, parsed(text)));
    else setText(JSON.stringify(valuesOf(executor.schema, raw), null, 2));
    setJson(!json);
  };
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setRefused(null);
    setFaults({});
    const labels = { engineType: executor.name, userCreator: `${user}-${more.creator.trim() || "CONSOLE"}` };
    for (const [label, value] of [["jobRunningTimeout", more.running], ["jobQueuingTimeout", more.queuing], ["jobRetryCount", more.retries]]) {
      if (value.trim()) labels[label] = value.trim();
    }
    try {
      const { taskID } = await post("/entrance/submit", {
        executionContent: { code: json ? text || "{}" : JSON.stringify(valuesOf(executor.schema, raw)), runType: executor.name },
        params: { configuration: { runtime: { "wds.linkis.engine.runtime.priority": LEVELS.find(([level]) => level === more.priority)[1] } } },
        labels, source: { scriptPath: "console" },
      });
      toast(t("submit.done", { id: taskID }));
      go(`tasks/${taskID}`);
    } catch (fault) {
      const found = {};
      for (const [, path, what] of fault.message.matchAll(/code\.([\w.]+): ([^\n]*)/g)) found[path] ??= what;
      setFaults(found);
      setRefused(fault);
      setBusy(false);
    }
  };
  const choose = (next) => setQuery({ executor: next, from: "", params: "" });
  return html`<header class="head"><div><h1>${t("nav.submit")}</h1><p class="muted">${t("submit.hint")}</p></div></header>
    <div class="submit">
      <div class="executors" role="radiogroup" aria-label=${t("col.executor")}>${data.executors.map((one) => html`
        <button type="button" role="radio" aria-checked=${one.name === name} onClick=${() => choose(one.name)}><b>${one.name}</b><small>${told(one.summary)}</small></button>`)}</div>
      ${executor ? html`<form class="card" onSubmit=${send} noValidate>
        <header class="card-head"><h2>${executor.name}</h2><button type="button" class="button small" aria-pressed=${json} onClick=${turn} disabled=${json && !valid}>${t("submit.raw")}</button></header>
        ${json ? html`<${RawJson} text=${text} onText=${(value, good) => { setText(value); setValid(good); }} />`
          : html`<${Fields} schema=${executor.schema} raw=${raw} onRaw=${setRaw} faults=${faults} />`}
        <details class="advanced"><summary>${t("submit.more")}</summary><div class="fields">
          <label class="field"><span>${t("priority")}</span><select value=${more.priority} onChange=${(e) => setMore({ ...more, priority: e.target.value })}>
            ${LEVELS.filter(([, value]) => value > 0 && value <= 400).map(([level, value]) => html`<option value=${level}>${t(`level.${level}`)} (${value})</option>`)}</select></label>
          ${[["creator", "col.creator"], ["running", "submit.running"], ["queuing", "submit.queuing"], ["retries", "submit.retries"]].map(([key, label]) => html`
            <label class="field"><span>${t(label)}</span><input value=${more[key]} inputmode=${key === "creator" ? "text" : "numeric"} autocomplete="off"
              onInput=${(e) => setMore({ ...more, [key]: e.target.value })} /></label>`)}</div></details>
        ${refused && html`<${Fault} error=${refused} />`}
        <footer><button class="button primary" disabled=${busy || (json && !valid)}>${t("submit.send")}</button></footer>
      </form>` : html`<${Fault} error=${{ message: t("submit.unknown", { name }) }} />`}
    </div>`;
}
