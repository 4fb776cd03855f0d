// One task: what it does now, what it said, what it used, what it was asked, what came out.
import { html, useEffect, useState } from "../lib.js";
import { call, post } from "../api.js";
import { useLoad, useSignal } from "../load.js";
import { go, href, setQuery } from "../route.js";
import { t } from "../i18n.js";
import { ago, bytes, count, duration, percent, rate, time } from "../format.js";
import { Badge, Bar, Button, Copy, Empty, Facts, Fault, Icon, Loading, Pager, Priority, Tabs, TaskBadge, toast } from "../ui.js";
import { ended, LEVELS, levelOf, ranFor, stateOf, troubled } from "../state.js";
import { ActionDialog } from "../parts/actions.js";
import { LogView } from "../parts/logview.js";
import { Plots } from "../parts/plots.js";
import { Result } from "../parts/result.js";
import * as live from "../live.js";

const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text ?? ""; } };

// What a stage counts: bytes, MiB or things.
function units(stage) {
  if (/^(new )?bytes\(/.test(stage.id)) return bytes;
  return /^pack\(/.test(stage.id) ? (mebibytes) => bytes(mebibytes * 1048576) : count;
}
const HISTORY = { timed_out: "timeout", waiting_retry: "retry" };

export function TaskPage({ id, query }) {
  const up = useSignal(live.connected);
  const [running, setRunning] = useState(true);
  const { data, error, reload } = useLoad(async (signal) => {
    const [{ task }, progress] = await Promise.all([
      call(`/jobhistory/${encodeURIComponent(id)}/get`, { signal }), call(`/entrance/${encodeURIComponent(id)}/progress`, { signal })]);
    const children = await call("/jobhistory/list", { query: { parentTaskID: task.taskID, pageSize: 1, isAdminView: "true" }, signal });
    return { task, progress, children: children.totalPage };
  }, [id], { every: running ? (up ? 2000 : 1000) : 30_000 });
  useEffect(() => live.onTasks((rows) => {
    if (rows === null || rows.some((row) => String(row.taskID) === id || String(row.parentTaskID) === id)) reload(150);
  }), [id]);
  useEffect(() => { if (data) setRunning(!ended(data.task)); }, [data]);
  if (!data) {
    return error ? html`<header class="head"><h1>${t("task.title", { id })}</h1></header>
      ${error.http === 404 ? html`<${Empty} icon="search" title=${t("task.unknown")}><a href=${href("tasks")}>${t("nav.tasks")}</a><//>`
        : html`<${Fault} error=${error} retry=${reload} />`}` : html`<${Loading} />`;
  }
  const { task, progress, children } = data;
  const tab = query.tab ?? "log";
  const tabs = [["log", t("tab.log")], ["usage", t("tab.usage")], ["result", t("tab.result")],
    ...(children ? [["children", t("tab.children"), count(children)]] : []), ["asked", t("tab.asked")], ["history", t("tab.history")]];
  return html`<nav class="crumbs" aria-label=${t("crumbs")}><a href=${href("tasks")}>${t("nav.tasks")}</a><${Icon} name="right" />
      ${task.parentTaskID && html`<a href=${href(`tasks/${task.parentTaskID}`, { tab: "children" })}>${t("task.title", { id: task.parentTaskID })}</a><${Icon} name="right" />`}
      <span>${task.taskID}</span></nav>
    <${Head} task=${task} reload=${reload} />
    ${error && html`<${Fault} error=${error} retry=${reload} />`}
    ${troubled(task) && html`<div class="notice bad" role="alert"><${Icon} name="alert" /><span><b>${t(`state.${stateOf(task)}`)}:</b> ${task.errDesc}</span></div>`}
    ${task.waitsBecause && html`<div class="notice warn" role="status"><${Icon} name="alert" /><span>${task.waitsBecause}</span></div>`}
    <${Overview} task=${task} progress=${progress} />
    <${Tabs} tabs=${tabs} current=${tab} label=${t("task.parts")} onTab=${(name) => setQuery({ tab: name === "log" ? "" : name }, { replace: true })} />
    <div id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${tab === "log" && html`<${LogView} task=${task.taskID} failed=${troubled(task)} ended=${ended(task)} />`}
      ${tab === "usage" && html`<${Plots} task=${task.taskID} ended=${ended(task)} inBytes=${progress.bytesTotal > 0} />`}
      ${tab === "result" && html`<${Result} task=${task} />`}
      ${tab === "children" && html`<${Children} task=${task} />`}
      ${tab === "asked" && html`<${Asked} task=${task} />`}
      ${tab === "history" && html`<${History} task=${task} />`}
    </div>`;
}

function Head({ task, reload }) {
  const [asking, setAsking] = useState(null);
  const [busy, setBusy] = useState(false);
  const done = ended(task);
  const steer = async (path, body, text) => {
    setBusy(true);
    try {
      await post(`/entrance/${task.taskID}/${path}`, body);
      toast(text);
    } catch (fault) { toast(fault.message, "bad"); }
    setBusy(false);
    reload(0);
  };
  const rerun = async () => {
    setBusy(true);
    try {
      const { items: [item] } = await post("/entrance/actions", { action: "rerun", ids: [task.taskID] });
      if (item.status) toast(item.message, "bad");
      else { toast(t("task.again", { id: item.taskID })); go(`tasks/${item.taskID}`); }
    } catch (fault) { toast(fault.message, "bad"); }
    setBusy(false);
  };
  return html`<header class="head task-head"><div><h1>${t("task.title", { id: task.taskID })} <small>${task.engineType}</small> <${TaskBadge} task=${task} /></h1>
      <p class="muted exec">${task.strongerExecId}<${Copy} text=${task.strongerExecId} /></p></div>
    <div class="buttons">
      ${!done && html`<label class="inline"><span class="sr">${t("priority")}</span>
        <select value=${levelOf(task.priority)} disabled=${busy} onChange=${(e) => steer("priority", { priority: e.target.value }, t("task.prioritised"))}>
          ${LEVELS.map(([name]) => html`<option value=${name}>${t(`level.${name}`)}</option>`)}</select></label>
        ${task.paused ? html`<${Button} icon="play" busy=${busy} onClick=${() => steer("resume", {}, t("task.resumed"))}>${t("action.resume")}<//>`
          : html`<${Button} icon="pause" busy=${busy} onClick=${() => steer("pause", {}, t("task.paused"))}>${t("action.pause")}<//>`}
        <${Button} kind="danger" icon="kill" busy=${busy} onClick=${() => setAsking("kill")}>${t("action.kill")}<//>`}
      ${done && html`<a class="button" href=${href("submit", { from: task.taskID })}>${t("task.edit")}</a>
        <${Button} kind="primary" icon="rerun" busy=${busy} onClick=${rerun}>${t("action.rerun")}<//>`}
    </div>
    ${asking && html`<${ActionDialog} action=${asking} which=${{ ids: [task.taskID] }} onClose=${() => setAsking(null)} onDone=${() => reload(0)} />`}
  </header>`;
}

function Overview({ task, progress }) {
  const state = stateOf(task);
  const done = ended(task);
  const took = ranFor(task);
  return html`<div class="overview">
    <section class="card progress-card">
      <div class="progress-top"><b class="big">${percent(progress.progress)}</b>
        <span class="muted">${!done && progress.secondsLeft !== null && progress.secondsLeft !== undefined ? t("progress.left", { time: duration(progress.secondsLeft * 1000) }) : ""}</span></div>
      <${Bar} fraction=${progress.progress} state=${state} label=${t("progress")} />
      <div class="figures">
        ${progress.bytesTotal > 0 && html`<div><span>${t("progress.bytes")}</span><b>${bytes(progress.bytesDone)} / ${bytes(progress.bytesTotal)}</b></div>`}
        ${progress.filesTotal > 0 && html`<div><span>${t("progress.files")}</span><b>${count(progress.filesDone)} / ${count(progress.filesTotal)}</b></div>`}
        ${!done && progress.bytesTotal > 0 && progress.bytesPerSecond !== null && html`<div><span>${t("progress.rate")}</span><b>${rate(progress.bytesPerSecond)}</b></div>`}
        <div><span>${t("col.took")}</span><b>${duration(took)}</b></div></div>
      ${progress.progressInfo.length > 0 && html`<ul class="stages">${progress.progressInfo.map((stage) => html`<li>
        <div class="stage-line"><span>${stage.id.replace(/\(\)$/, "")}</span><span class="muted">${units(stage)(stage.succeedTasks)} / ${units(stage)(stage.totalTasks)}
          ${stage.failedTasks ? html`<b class="bad-text"> · ${t("stage.failed", { n: count(stage.failedTasks) })}</b>` : null}
          ${stage.runningTasks ? ` · ${t("stage.running", { n: count(stage.runningTasks) })}` : ""}</span></div>
        <${Bar} fraction=${stage.totalTasks ? stage.succeedTasks / stage.totalTasks : 0} state=${state} label=${stage.id} /></li>`)}</ul>`}
    </section>
    <section class="card"><${Facts} two rows=${[
      [t("priority"), html`<${Priority} value=${task.priority} />`],
      [t("col.user"), task.umUser], [t("col.creator"), task.requestApplicationName],
      [t("col.created"), html`<span title=${ago(task.createdTime)}>${time(task.createdTime)}</span>`],
      [t("col.started"), time(task.engineStartTime)], [t("col.ended"), time(task.requestEndTime)],
    ]} /></section>
  </div>`;
}

function Asked({ task }) {
  const blocks = [["asked.code", pretty(task.executionCode)], ["asked.params", pretty(task.paramsJson)], ["asked.source", pretty(task.sourceJson)]];
  return html`<div class="blocks">${blocks.map(([name, text]) => text && text !== "{}" && html`<section class="card"><header class="card-head"><h2>${t(name)}</h2><${Copy} text=${text} /></header>
      <pre class="code">${text}</pre></section>`)}
    <section class="card"><header class="card-head"><h2>${t("asked.labels")}</h2></header><div class="chips">${task.labels.map((label) => html`<span class="chip">${label}</span>`)}</div></section></div>`;
}

function History({ task }) {
  const ask = (part) => (signal) => call(`/entrance/${task.taskID}/${part}`, { signal });
  const attempts = useLoad(ask("attempts"), [task.status, task.updatedTime]);
  const history = useLoad(ask("history"), [task.status, task.updatedTime]);
  return html`<div class="blocks">
    ${attempts.error && html`<${Fault} error=${attempts.error} retry=${attempts.reload} />`}
    <section class="card flush"><header class="card-head"><h2>${t("history.attempts")}</h2></header>
      ${attempts.data && (attempts.data.attempts.length === 0 ? html`<p class="muted pad">${t("history.none")}</p>` : html`<div class="scroll"><table class="table"><thead><tr><th class="num">#</th><th>${t("col.started")}</th><th class="num">${t("col.took")}</th>
        <th>${t("history.end")}</th><th class="num">${t("history.from")}</th><th class="num">${t("history.to")}</th><th class="num">${t("plot.memory")}</th><th class="num">${t("history.cpu")}</th></tr></thead>
      <tbody>${attempts.data.attempts.map((a) => html`<tr><td class="num">${a.attempt}</td><td>${time(a.startTime)}</td><td class="num">${duration((a.endTime ?? Date.now()) - a.startTime)}</td>
        <td>${t(a.end ? `end.${a.end}` : "state.running")}${a.reason ? html` <small class=${a.end === "succeeded" ? "muted" : "reason"} title=${a.reason}>${a.reason}</small>` : null}</td><td class="num">${count(a.doneAtStart)}</td>
        <td class="num">${a.doneAtEnd === null ? "–" : count(a.doneAtEnd)}</td><td class="num">${bytes(a.maxRss)}</td>
        <td class="num">${a.cpuSeconds === null ? "–" : duration(a.cpuSeconds * 1000)}</td></tr>`)}</tbody></table></div>`)}</section>
    <section class="card"><header class="card-head"><h2>${t("history.states")}</h2></header>
      ${history.error && html`<${Fault} error=${history.error} retry=${history.reload} />`}
      <ol class="timeline">${history.data?.history.map((h) => html`<li><${Badge} state=${HISTORY[h.state] ?? h.state} /><time>${time(h.time)}</time>
        <span>${h.reason ?? ""}</span>${h.who && html`<small class="muted">${t("history.by", { who: h.who })}</small>`}</li>`)}</ol></section>
  </div>`;
}

function Children({ task }) {
  const [page, setPage] = useState(1);
  const size = 25;
  const { data, error, reload } = useLoad((signal) => call("/jobhistory/list",
    { query: { parentTaskID: task.taskID, pageNow: page, pageSize: size, isAdminView: "true" }, signal }), [task.taskID, page], { every: ended(task) ? 0 : 3000 });
  if (error && !data) return html`<${Fault} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  return html`<section class="card flush"><div class="scroll"><table class="table"><thead><tr><th>${t("col.id")}</th><th>${t("col.state")}</th><th>${t("col.executor")}</th>
      <th>${t("col.asked")}</th><th class="num">${t("col.took")}</th></tr></thead>
    <tbody>${data.tasks.map((child) => html`<tr><td><a class="id" href=${href(`tasks/${child.taskID}`)}>${child.taskID}</a></td>
      <td><div class="state-cell"><${TaskBadge} task=${child} />${child.status === "Running" && html`<${Bar} fraction=${Number(child.progress)} state=${stateOf(child)} label=${t("progress")} />`}
        ${troubled(child) && html`<small class="reason" title=${child.errDesc}>${child.errDesc}</small>`}</div></td>
      <td>${child.engineType}</td><td class="cell mono">${child.executionCode}</td>
      <td class="num">${duration(ranFor(child))}</td></tr>`)}</tbody></table></div>
    <footer class="foot"><span></span><${Pager} page=${page} size=${size} total=${data.totalPage} onPage=${setPage} /></footer></section>`;
}
