// Kill, pause, resume, priority, rerun: many at once, with the count agreed before and a result per task after.
import { html, useEffect, useState } from "../lib.js";
import { post } from "../api.js";
import { t } from "../i18n.js";
import { count } from "../format.js";
import { href } from "../route.js";
import { Badge, Bar, Button, Dialog, Fault, Loading } from "../ui.js";
import { LEVELS, stateOf } from "../state.js";

export const ACTIONS = [["pause", "pause"], ["resume", "play"], ["priority", "up"], ["rerun", "rerun"], ["kill", "kill"]];
const SHOWN = 200;

export const act = (action, which, more = {}) => post("/entrance/actions", { action, ...which, ...more });

// ``which`` is {ids: [...]} or {filter: {...}}. With a filter the service is asked how many it selects now, and refuses when it
// selects another number at the moment of the deed.
export function ActionDialog({ action, which, onClose, onDone }) {
  const [expect, setExpect] = useState(which.ids ? which.ids.length : null);
  const [level, setLevel] = useState("NORMAL");
  const [state, setState] = useState({ error: null, busy: false, items: null });

  const ask = async () => {
    setState({ error: null, busy: false, items: null });
    try {
      setExpect(which.ids ? which.ids.length : (await act(action, which, { dryRun: true, priority: level })).count);
    } catch (error) {
      setState({ error, busy: false, items: null });
    }
  };
  useEffect(() => { if (expect === null) ask(); }, []);

  const carryOut = async () => {
    setState({ error: null, busy: true, items: null });
    try {
      const { items } = await act(action, which, { expect, ...(action === "priority" && { priority: level }) });
      setState({ error: null, busy: false, items });
      onDone?.();
    } catch (error) {
      setState({ error, busy: false, items: null });
    }
  };

  const title = t(`action.${action}`);
  if (state.items) return html`<${Results} title=${title} items=${state.items} onClose=${onClose} />`;
  return html`<${Dialog} title=${title} onClose=${onClose}>
    ${expect === null && !state.error ? html`<${Loading} />` : html`
      <p class="ask">${expect !== null && t(`ask.${action}`, { n: count(expect), tasks: t(expect === 1 ? "task.one" : "task.many") })}</p>`}
    ${which.filter && html`<p class="muted">${t("ask.filter")}</p>`}
    ${action === "priority" && html`<label class="field"><span>${t("priority")}</span>
      <select value=${level} onChange=${(e) => setLevel(e.target.value)}>${LEVELS.map(([name, value]) => html`
        <option value=${name}>${t(`level.${name}`)} (${value})</option>`)}</select></label>`}
    ${state.error && html`<${Fault} error=${state.error} retry=${ask} />`}
    ${state.busy && html`<${Bar} fraction=${1} state="running busy" label=${t("loading")} />`}
    <footer><${Button} onClick=${onClose}>${t("cancel")}<//>
      <${Button} kind=${action === "kill" ? "danger" : "primary"} busy=${state.busy} disabled=${!expect || Boolean(state.error)}
        onClick=${carryOut}>${title}${expect ? ` (${count(expect)})` : ""}<//></footer>
  <//>`;
}

function Results({ title, items, onClose }) {
  const refused = items.filter((item) => item.status !== 0);
  const rows = [...refused, ...items.filter((item) => item.status === 0)].slice(0, SHOWN);
  return html`<${Dialog} title=${title} onClose=${onClose} wide>
    <p class="ask"><b class="good-text">${t("result.done", { n: count(items.length - refused.length) })}</b>
      ${refused.length ? html`, <b class="bad-text">${t("result.refused", { n: count(refused.length) })}</b>` : null}</p>
    <div class="scroll"><table class="table"><thead><tr><th>${t("col.id")}</th><th>${t("col.state")}</th><th>${t("col.result")}</th></tr></thead>
      <tbody>${rows.map((item) => html`<tr class=${item.status ? "refused" : ""}>
        <td>${item.taskID ? html`<a href=${href(`tasks/${item.taskID}`)} onClick=${onClose}>${item.taskID}</a>` : item.id}</td>
        <td>${item.state && html`<${Badge} state=${stateOf({ status: item.state, paused: item.paused })} />`}</td>
        <td>${item.message}</td></tr>`)}</tbody></table></div>
    ${items.length > SHOWN && html`<p class="muted">${t("result.more", { n: count(items.length - SHOWN) })}</p>`}
    <footer><${Button} kind="primary" onClick=${onClose}>${t("close")}<//></footer>
  <//>`;
}
