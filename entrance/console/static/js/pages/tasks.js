// Tasks: filters in the address, pages from the server, actions on a selection or on all that the filter selects.
import { html, useEffect, useRef, useState } from "../lib.js";
import { call, session } from "../api.js";
import { useLoad, useSignal } from "../load.js";
import { href, setQuery } from "../route.js";
import { t } from "../i18n.js";
import { ago, count, duration, percent, time } from "../format.js";
import { Bar, Button, Empty, Fault, Icon, Loading, Pager, Priority, TaskBadge, toast } from "../ui.js";
import { ended, ranFor, stateOf, VIEWS } from "../state.js";
import { act, ActionDialog, ACTIONS } from "../parts/actions.js";
import * as live from "../live.js";

const SIZES = [25, 50, 100, 200];
const day = (text, more = 0) => (text ? new Date(`${text}T00:00:00`).getTime() + more : undefined);

// What the list asks for, and the same as a filter of an action.
function asked(query, admin) {
  const all = admin && query.mine !== "1";
  const shared = {
    status: query.status || undefined, creator: query.creator || undefined, text: query.text || undefined,
    startDate: day(query.from), endDate: day(query.to, 86_400_000 - 1), isAdminView: all || undefined, topLevel: query.top === "1" || undefined,
  };
  return {
    list: { ...shared, executeApplicationName: query.executor, proxyUser: all ? query.user : undefined },
    filter: { ...shared, executor: query.executor || undefined, user: (all && query.user) || undefined },
  };
}

export function Tasks({ query }) {
  const { admin } = useSignal(session);
  const up = useSignal(live.connected);
  const page = Math.max(1, Number(query.page) || 1);
  const size = SIZES.includes(Number(query.size)) ? Number(query.size) : 50;
  const { list, filter } = asked(query, admin);
  const key = JSON.stringify(list);
  const [chosen, setChosen] = useState(new Set());
  const [all, setAll] = useState(false);
  const [action, setAction] = useState(null);
  const [active, setActive] = useState(true);
  const { data, error, loading, reload } = useLoad(
    (signal) => call("/jobhistory/list", { query: { ...list, pageNow: page, pageSize: size }, signal }),
    [key, page, size], { every: up ? (active ? 4000 : 30_000) : 3000 },
  );
  useEffect(() => live.onTasks(() => reload(500)), []);
  useEffect(() => { setChosen(new Set()); setAll(false); }, [key]);
  useEffect(() => { setAll(false); }, [page, size]);
  useEffect(() => { if (data) setActive(data.tasks.some((task) => !ended(task))); }, [data]);

  const rows = data?.tasks ?? [];
  const total = data?.totalPage ?? 0;
  const whole = rows.length > 0 && rows.every((task) => chosen.has(task.taskID));
  const toggle = (id) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
    setAll(false);
  };
  const toggleAll = () => {
    const next = new Set(chosen);
    for (const task of rows) if (whole) next.delete(task.taskID); else next.add(task.taskID);
    setChosen(next);
    setAll(false);
  };
  const clear = () => { setChosen(new Set()); setAll(false); };
  const which = all ? { filter } : { ids: [...chosen] };

  return html`<header class="head"><div><h1>${t("nav.tasks")}</h1><p class="muted">${t("tasks.hint")}</p></div>
      <a class="button primary" href=${href("submit")}><${Icon} name="submit" />${t("tasks.new")}</a></header>
    <${Filters} query=${query} admin=${admin} />
    ${error && html`<${Fault} error=${error} retry=${reload} />`}
    ${chosen.size > 0 && html`<div class="chosen" role="toolbar" aria-label=${t("chosen.label")}>
      <b>${t("chosen.n", { n: count(all ? total : chosen.size) })}</b>
      ${whole && !all && total > rows.length && html`<button type="button" class="link" onClick=${() => setAll(true)}>
        ${t("chosen.all", { n: count(total) })}</button>`}
      <span class="grow"></span>
      ${ACTIONS.map(([name, icon]) => html`<${Button} kind=${name === "kill" ? "small danger-ghost" : "small"} icon=${icon}
        onClick=${() => setAction(name)}>${t(`action.${name}`)}<//>`)}
      <${Button} kind="square ghost" icon="close" label=${t("chosen.none")} onClick=${clear} /></div>`}
    <section class="card flush ${loading && data ? "dim" : ""}" aria-busy=${loading}>
      ${!data ? !error && html`<${Loading} />` : rows.length === 0 ? html`<${Nothing} query=${query} />` : html`
      <div class="scroll"><table class="table tasks">
        <thead><tr><th class="tick"><input type="checkbox" aria-label=${t("chosen.page")} checked=${whole} onChange=${toggleAll} /></th>
          <th>${t("col.id")}</th><th>${t("col.state")}</th><th>${t("col.executor")}</th>
          <th class="opt">${t("col.creator")}</th>${list.isAdminView && html`<th class="opt">${t("col.user")}</th>`}
          <th class="opt">${t("priority")}</th><th class="opt">${t("col.created")}</th><th class="opt">${t("col.took")}</th>
          <th><span class="sr">${t("col.actions")}</span></th></tr></thead>
        <tbody>${rows.map((task) => html`<${Row} key=${task.taskID} task=${task} users=${list.isAdminView}
          chosen=${chosen.has(task.taskID)} toggle=${toggle} reload=${reload} ask=${(name) => setAction({ name, id: task.taskID })} />`)}</tbody>
      </table></div>`}
      ${data && total > 0 && html`<footer class="foot"><label class="muted">${t("pager.size")}
        <select onChange=${(e) => setQuery({ size: e.target.value, page: "" })}>${SIZES.map((n) => html`<option value=${n} selected=${n === size}>${n}</option>`)}</select></label>
        <${Pager} page=${Math.min(page, Math.max(1, Math.ceil(total / size)))} size=${size} total=${total}
          onPage=${(n) => setQuery({ page: n === 1 ? "" : n })} /></footer>`}
    </section>
    ${action && html`<${ActionDialog} action=${action.name ?? action} which=${action.id ? { ids: [action.id] } : which}
      onClose=${() => { if (!action.id) clear(); setAction(null); reload(0); }} onDone=${() => reload(0)} />`}`;
}

function Row({ task, users, chosen, toggle, reload, ask }) {
  const done = ended(task);
  const steer = async (action) => {
    try {
      const { items } = await act(action, { ids: [task.taskID] });
      if (items[0].status) toast(items[0].message, "bad");
      reload(0);
    } catch (fault) { toast(fault.message, "bad"); }
  };
  return html`<tr class=${chosen ? "chosen-row" : ""}>
    <td class="tick"><input type="checkbox" aria-label=${t("chosen.one", { id: task.taskID })} checked=${chosen}
      onChange=${() => toggle(task.taskID)} /></td>
    <td><a class="id" href=${href(`tasks/${task.taskID}`)}>${task.taskID}</a></td>
    <td><div class="state-cell"><${TaskBadge} task=${task} />
      ${task.status === "Running" && html`<${Bar} fraction=${Number(task.progress)} state=${stateOf(task)}
        label=${t("progress")} /><small class="muted">${percent(Number(task.progress))}</small>`}
      ${task.errDesc && task.status !== "Cancelled" && html`<small class="reason" title=${task.errDesc}>${task.errDesc}</small>`}
      ${task.waitsBecause && html`<small class="muted" title=${task.waitsBecause}>${task.waitsBecause}</small>`}</div></td>
    <td>${task.engineType}</td><td class="opt">${task.requestApplicationName}</td>
    ${users && html`<td class="opt">${task.umUser}</td>`}
    <td class="opt"><${Priority} value=${task.priority} /></td>
    <td class="opt" title=${time(task.createdTime)}>${ago(task.createdTime)}</td>
    <td class="opt num">${duration(ranFor(task))}</td>
    <td class="row-actions">${!done && (task.paused
      ? html`<${Button} kind="square ghost" icon="play" label=${t("row.resume", { id: task.taskID })} onClick=${() => steer("resume")} />`
      : html`<${Button} kind="square ghost" icon="pause" label=${t("row.pause", { id: task.taskID })} onClick=${() => steer("pause")} />`)}
      ${done ? html`<${Button} kind="square ghost" icon="rerun" label=${t("row.rerun", { id: task.taskID })} onClick=${() => ask("rerun")} />`
        : html`<${Button} kind="square ghost" icon="kill" label=${t("row.kill", { id: task.taskID })} onClick=${() => ask("kill")} />`}</td>
  </tr>`;
}

function Nothing({ query }) {
  const filtered = Object.keys(query).some((name) => !["page", "size", "mine"].includes(name));
  return filtered
    ? html`<${Empty} icon="search" title=${t("tasks.none")}><a href=${href("tasks")}>${t("filter.clear")}</a><//>`
    : html`<${Empty} title=${t("tasks.empty")}><a href=${href("submit")}>${t("tasks.first")}</a><//>`;
}

function Filters({ query, admin }) {
  const names = useLoad((signal) => call("/configuration/engineType", { signal }), []).data?.engineType ?? [];
  const search = useRef(null);
  const timer = useRef(0);
  useEffect(() => {
    const focus = (event) => {
      if (event.key !== "/" || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName) || document.querySelector("dialog")) return;
      event.preventDefault();
      search.current?.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  const set = (changes) => setQuery({ ...changes, page: "" });
  const later = (name) => (event) => {
    const { value } = event.target;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setQuery({ [name]: value.trim(), page: "" }, { replace: true }), 300);
  };
  const view = Object.entries(VIEWS).find(([, states]) => states === (query.status ?? ""))?.[0];
  const more = ["executor", "creator", "user", "from", "to", "top", "mine"].filter((name) => query[name]).length;
  const [open, setOpen] = useState(more > 0);
  return html`<section class="filters" aria-label=${t("filter.label")}>
    <div class="views" role="group" aria-label=${t("col.state")}>${Object.entries(VIEWS).map(([name, states]) => html`
      <button type="button" aria-pressed=${name === view} onClick=${() => set({ status: states })}>${t(`view.${name}`)}</button>`)}</div>
    <label class="search"><${Icon} name="search" /><span class="sr">${t("filter.text")}</span>
      <input ref=${search} type="search" placeholder=${t("filter.text")} value=${query.text ?? ""} onInput=${later("text")} /></label>
    <button type="button" class="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>${t("filter.more")}
      ${more ? html`<span class="count">${more}</span>` : null}<${Icon} name="down" /></button>
    ${open && html`<div class="more">
      <label class="field"><span>${t("col.executor")}</span><select value=${query.executor ?? ""} onChange=${(e) => set({ executor: e.target.value })}>
        <option value="">${t("any")}</option>${names.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
      <label class="field"><span>${t("col.creator")}</span><input value=${query.creator ?? ""} onInput=${later("creator")} pattern="[a-zA-Z\\d_.\\-]*" /></label>
      ${admin && query.mine !== "1" && html`<label class="field"><span>${t("col.user")}</span>
        <input value=${query.user ?? ""} onInput=${later("user")} /></label>`}
      <label class="field"><span>${t("filter.from")}</span><input type="date" value=${query.from ?? ""} onChange=${(e) => set({ from: e.target.value })} /></label>
      <label class="field"><span>${t("filter.to")}</span><input type="date" value=${query.to ?? ""} onChange=${(e) => set({ to: e.target.value })} /></label>
      <div class="checks"><label class="check"><input type="checkbox" checked=${query.top === "1"} onChange=${(e) => set({ top: e.target.checked ? "1" : "" })} />${t("filter.top")}</label>
      ${admin && html`<label class="check"><input type="checkbox" checked=${query.mine === "1"} onChange=${(e) => set({ mine: e.target.checked ? "1" : "", user: "" })} />${t("filter.mine")}</label>`}</div>
    </div>`}
  </section>`;
}
