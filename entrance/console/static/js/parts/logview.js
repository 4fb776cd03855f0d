// The log of a task on the page.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { t } from "../i18n.js";
import { count } from "../format.js";
import { Button, Fault, Icon, Loading, save } from "../ui.js";
import { useSignal } from "../load.js";
import * as live from "../live.js";
import { LogStore } from "./log.js";

const LINE = 20; // pixels; as in the style sheet
const TALLEST = 8_000_000; // pixels of an element that all browsers can show
const SPARE = 20; // lines above and below the view

export function LogView({ task, failed, ended }) {
  const box = useRef(null);
  const [, redraw] = useState(0);
  const [top, setTop] = useState(0);
  const [follow, setFollow] = useState(!failed); // an ended task's log opens at its end, too
  const [level, setLevel] = useState("");
  const [text, setText] = useState("");
  const [mark, setMark] = useState(-1);
  const [saving, setSaving] = useState(false);
  const up = useSignal(live.connected);
  const store = useRef(null);
  const pending = useRef(0);
  if (!store.current) {
    store.current = new LogStore(task, () => {
      pending.current ||= requestAnimationFrame(() => { pending.current = 0; redraw((n) => n + 1); });
    });
  }
  const log = store.current;
  const rows = log.filter ? log.matches.length : log.total;
  const height = Math.min(rows * LINE, TALLEST);
  const scale = rows * LINE > TALLEST ? (rows * LINE) / TALLEST : 1; // of very long logs the scroll bar is coarser

  useEffect(() => {
    let leave = null;
    let gone = false;
    log.open().then(() => {
      if (gone) return;
      if (failed) {
        const at = log.failure();
        setMark(at);
        if (at >= 0) requestAnimationFrame(() => show(at));
      }
      if (!ended) leave = live.follow(task, log.total, { log: (lines, next) => log.told(lines, next), end: () => log.poll() });
    });
    return () => { gone = true; leave?.(); log.stop(); cancelAnimationFrame(pending.current); };
  }, []);
  useEffect(() => {
    if (ended) { if (log.ready) log.poll(); return undefined; }
    const timer = setInterval(() => { if (!document.hidden && log.ready) log.poll(); }, up ? 10_000 : 1000);
    return () => clearInterval(timer);
  }, [up, ended]);
  useEffect(() => {
    const timer = setTimeout(() => log.setFilter({ level, text: text.trim() }), text ? 250 : 0);
    return () => clearTimeout(timer);
  }, [level, text]);
  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  });

  const seen = box.current?.clientHeight ?? 600;
  const atTop = scale === 1 ? top / LINE : (top / Math.max(1, height - seen)) * (rows - seen / LINE);
  const first = Math.max(0, Math.floor(atTop) - SPARE);
  const last = Math.min(rows, first + Math.ceil(seen / LINE) + SPARE * 2);
  useEffect(() => { if (!log.filter && log.ready) log.need(first, last); }, [first, last, log.total, log.ready, log.filter]);

  const show = (line) => {
    if (!box.current) return;
    setFollow(false);
    const wanted = Math.max(0, line - seen / LINE / 3);
    box.current.scrollTop = scale === 1 ? wanted * LINE : (wanted / (rows - seen / LINE)) * (height - seen);
  };
  const scrolled = (event) => {
    const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
    setTop(scrollTop);
    setFollow(!ended && scrollHeight - scrollTop - clientHeight < LINE * 2);
  };
  const download = async () => {
    setSaving(true);
    try {
      const parts = [];
      for await (const part of log.whole()) parts.push(part);
      save(`${task}.log`, parts, "text/plain");
    } finally { setSaving(false); }
  };

  const shown = [];
  for (let at = first; at < last; at += 1) {
    const [number, line, kind] = log.filter ? log.matches[at] : [at, log.line(at), null];
    shown.push(html`<div key=${at} class="line l-${(kind ?? (line === undefined ? "info" : log.level(number))).toLowerCase()} ${number === mark ? "mark" : ""}">
      <span class="no">${number + 1}</span><span class="text">${line ?? "…"}</span></div>`);
  }
  return html`<section class="log">
    <div class="toolbar">
      <div class="views small" role="group" aria-label=${t("log.level")}>${[["", "all"], ["WARN", "warn"], ["ERROR", "error"]].map(([value, name]) => html`
        <button type="button" aria-pressed=${level === value} onClick=${() => setLevel(value)}>${t(`log.${name}`)}</button>`)}</div>
      <label class="search small"><${Icon} name="search" /><span class="sr">${t("log.search")}</span>
        <input type="search" placeholder=${t("log.search")} value=${text} onInput=${(e) => setText(e.target.value)} /></label>
      <span class="muted grow" role="status">${log.filter
        ? t("log.found", { n: count(log.matches.length), scanned: count(log.scanned), total: count(log.total) })
        : t("log.lines", { n: count(log.total) })}</span>
      ${mark >= 0 && html`<${Button} kind="small danger-ghost" icon="alert" onClick=${() => { setLevel(""); setText(""); setTimeout(() => show(mark), 30); }}>${t("log.failure")}<//>`}
      <${Button} kind="small" icon="download" busy=${saving} onClick=${download}>${t("download")}<//>
      <button type="button" class="button small" aria-pressed=${follow} onClick=${() => setFollow(!follow)}><${Icon} name="down" />${t("log.follow")}</button>
    </div>
    ${log.error && html`<${Fault} error=${log.error} retry=${() => log.poll()} />`}
    <div class="log-box" ref=${box} onScroll=${scrolled} tabindex="0" role="log" aria-live="off" aria-label=${t("tab.log")}>
      ${!log.ready ? html`<${Loading} />` : rows === 0 ? html`<p class="muted pad">${t(log.filter ? "log.none" : "log.empty")}</p>` : html`
      <div class="lines" style=${{ height: `${height}px` }}>
        <div style=${{ transform: `translateY(${scale === 1 ? first * LINE : Math.max(0, top - (atTop - first) * LINE)}px)` }}>${shown}</div></div>`}
    </div>
  </section>`;
}
