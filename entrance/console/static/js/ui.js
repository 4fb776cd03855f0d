// The parts that all pages are made of.
import { html, useEffect, useRef, useState } from "./lib.js";
import { Signal } from "./store.js";
import { useSignal } from "./load.js";
import { t } from "./i18n.js";
import { count } from "./format.js";
import { levelOf, stateOf } from "./state.js";

const ICONS = {
  tasks: "M4 6h16M4 12h16M4 18h10", submit: "M12 5v14M5 12h14", data: "M12 3 3 8l9 5 9-5-9-5ZM3 12l9 5 9-5M3 16l9 5 9-5",
  play: "M7 4.5v15l12-7.5-12-7.5Z", pause: "M8 5v14M16 5v14", kill: "M6 6h12v12H6z", rerun: "M20 11a8 8 0 1 0-2.3 6.3M20 4v7h-7",
  up: "M12 19V5M6 11l6-6 6 6", down: "m6 9 6 6 6-6", search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14Zm5-2 5 5", close: "M6 6l12 12M18 6 6 18",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z", auto: "M12 3a9 9 0 1 0 0 18V3Z M12 3a9 9 0 0 1 0 18",
  out: "M9 4H5v16h4M15 8l4 4-4 4M19 12H9", left: "m15 6-6 6 6 6", right: "m9 6 6 6-6 6", check: "m5 12 5 5L20 7",
  alert: "M12 4 2.5 20h19L12 4Zm0 6v5m0 2.5v.5", download: "M12 4v11m-5-5 5 5 5-5M5 20h14", copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 4v5l3.5 2",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;

export const Badge = ({ state }) => html`<span class="badge s-${state}"><i></i>${t(`state.${state}`)}</span>`;
export const TaskBadge = ({ task }) => html`<${Badge} state=${stateOf(task)} />`;

export function Bar({ fraction, state = "running", label }) {
  const share = Math.max(0, Math.min(1, fraction || 0));
  return html`<div class="bar s-${state}" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${Math.floor(share * 100)}><div style=${{ width: `${share * 100}%` }}></div></div>`;
}

export function Priority({ value }) {
  const level = levelOf(value);
  return html`<span class="priority p-${level.toLowerCase()}" title=${value}>${t(`level.${level}`)}</span>`;
}

export function Button({ icon, kind = "", label, children, busy, ...rest }) {
  return html`<button type="button" class="button ${kind}" aria-label=${label} title=${label}
      ...${rest} disabled=${rest.disabled || busy}>${icon && html`<${Icon} name=${icon} />`}${children}</button>`;
}

export const Empty = ({ title, children, icon = "tasks" }) => html`
  <div class="empty"><span class="empty-icon"><${Icon} name=${icon} /></span><h3>${title}</h3><p>${children}</p></div>`;

export const textOf = (error) => (error.message === "offline" ? t("error.offline") : error.message);

export const Fault = ({ error, retry }) => html`
  <div class="notice bad" role="alert"><${Icon} name="alert" /><span>${textOf(error)}</span>
    ${retry && html`<${Button} kind="small" onClick=${() => retry(0)}>${t("again")}<//>`}</div>`;

export const Loading = () => html`<div class="loading" role="status"><span class="sr">${t("loading")}</span>
  <i></i><i></i><i></i></div>`;

export function Pager({ page, size, total, onPage }) {
  const pages = Math.max(1, Math.ceil(total / size));
  const first = total ? (page - 1) * size + 1 : 0;
  return html`<nav class="pager" aria-label=${t("pager.label")}>
    <span class="muted">${t("pager.range", { first: count(first), last: count(Math.min(total, page * size)), total: count(total) })}</span>
    <${Button} kind="square" icon="left" label=${t("pager.before")} disabled=${page <= 1} onClick=${() => onPage(page - 1)} />
    <span class="page">${count(page)} / ${count(pages)}</span>
    <${Button} kind="square" icon="right" label=${t("pager.after")} disabled=${page >= pages} onClick=${() => onPage(page + 1)} />
  </nav>`;
}

export function Dialog({ title, onClose, children, wide }) {
  const ref = useRef(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const cancel = (event) => { event.preventDefault(); onClose(); };
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} onCancel=${cancel} aria-labelledby="dialog-title">
    <header><h2 id="dialog-title">${title}</h2>
      <${Button} kind="square ghost" icon="close" label=${t("close")} onClick=${onClose} /></header>
    ${children}
  </dialog>`;
}

export function Tabs({ tabs, current, onTab, label }) {
  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex(([name]) => name === current);
    const next = tabs[(at + step + tabs.length) % tabs.length][0];
    onTab(next);
    event.currentTarget.querySelector(`#tab-${next}`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${keys}>
    ${tabs.map(([name, text, badge]) => html`<button type="button" role="tab" id="tab-${name}" aria-selected=${name === current}
      aria-controls="panel" tabindex=${name === current ? 0 : -1} onClick=${() => onTab(name)}>${text}
      ${badge ? html`<span class="count">${badge}</span>` : null}</button>`)}
  </div>`;
}

export const Facts = ({ rows, two }) => html`<dl class="facts ${two ? "two" : ""}">${rows.filter(Boolean).map(([name, value]) => html`
  <div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

// ---- short messages

const toasts = new Signal([]);
let number = 0;

export function toast(text, kind = "good") {
  const id = (number += 1);
  toasts.value = [...toasts.value.slice(-3), { id, text, kind }];
  setTimeout(() => { toasts.value = toasts.value.filter((one) => one.id !== id); }, kind === "bad" ? 9000 : 4000);
}

export function Toasts() {
  const all = useSignal(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">${all.map((one) => html`
    <div key=${one.id} class="toast ${one.kind}"><${Icon} name=${one.kind === "bad" ? "alert" : "check"} />${one.text}</div>`)}</div>`;
}

export function Copy({ text }) {
  const [done, setDone] = useState(false);
  if (!navigator.clipboard) return null;
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<${Button} kind="square ghost tiny" icon=${done ? "check" : "copy"} label=${t("copy")} onClick=${copy} />`;
}

// Hands a text to the person as a file.
export function save(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
