// Preparations: what is made of which folders, how its jobs stand, and the pieces.
import { html, useEffect, useState } from "../lib.js";
import { data as singularity } from "../api.js";
import { useLoad } from "../load.js";
import { href, setQuery } from "../route.js";
import { t } from "../i18n.js";
import { ago, bytes, count, time } from "../format.js";
import { Badge, Button, Copy, Empty, Facts, Fault, Icon, Loading, Pager, Tabs, toast } from "../ui.js";

const JOB_STATES = { created: "created", ready: "queued", paused: "paused", processing: "running", complete: "succeeded", error: "failed" };
const ORDER = ["complete", "processing", "ready", "paused", "created", "error"];
const names = (storages) => (storages ?? []).map((s) => s.name).join(", ") || "–";
const plainDate = (text) => time(Date.parse(text));

const PAGE = 25;
const MANY_JOBS = 1000; // from here on a preparation's jobs are asked for less often

export function Preparations({ query }) {
  const { data, error, reload } = useLoad((signal) => singularity("/preparation", { signal }), [], { every: 10_000 });
  const page = Math.max(1, Number(query.page) || 1);
  const rows = (data ?? []).slice().reverse();
  return html`<header class="head"><div><h1>${t("nav.preparations")}</h1><p class="muted">${t("prep.hint")}</p></div>
      <a class="button primary" href=${href("submit", { executor: "scan" })}><${Icon} name="submit" />${t("prep.new")}</a></header>
    ${error && html`<${Fault} error=${error} retry=${reload} />`}
    <section class="card flush">${!data ? !error && html`<${Loading} />` : data.length === 0
      ? html`<${Empty} icon="data" title=${t("prep.empty")}><a href=${href("submit", { executor: "scan" })}>${t("prep.first")}</a><//>`
      : html`<div class="scroll"><table class="table"><thead><tr><th>${t("prep.name")}</th><th>${t("prep.jobs")}</th><th class="opt">${t("prep.sources")}</th>
          <th class="opt">${t("prep.outputs")}</th><th class="num opt">${t("prep.max")}</th><th class="num opt">${t("prep.piece")}</th><th class="opt">${t("col.created")}</th></tr></thead>
        <tbody>${rows.slice((page - 1) * PAGE, page * PAGE).map((p) => html`<tr key=${p.id}><td><a class="id" href=${href(`preparations/${p.id}`)}>${p.name}</a></td>
          <td><${Standing} id=${p.id} /></td><td class="cell opt">${names(p.sourceStorages)}</td>
          <td class="cell opt">${p.outputStorages?.length ? names(p.outputStorages) : t("prep.inline")}</td><td class="num opt">${bytes(p.maxSize)}</td>
          <td class="num opt">${bytes(p.pieceSize)}</td><td class="opt" title=${plainDate(p.createdAt)}>${ago(Date.parse(p.createdAt))}</td></tr>`)}</tbody></table></div>
        ${rows.length > PAGE && html`<footer class="foot"><span></span><${Pager} page=${page} size=${PAGE} total=${rows.length}
          onPage=${(n) => setQuery({ page: n === 1 ? "" : n })} /></footer>`}`}</section>`;
}

// How far the jobs of a preparation are, in a row of the list.
function Standing({ id }) {
  const [pause, setPause] = useState(10_000);
  const { data } = useLoad(async (signal) => (await singularity(`/preparation/${id}`, { signal }) ?? []).flatMap((s) => s.jobs ?? []), [id], { every: pause });
  useEffect(() => { if (data) setPause(data.length > MANY_JOBS ? 120_000 : data.every((job) => job.state === "complete") ? 30_000 : 5000); }, [data]);
  if (!data) return null;
  const of = (state) => data.filter((job) => job.state === state).length;
  if (!data.length) return html`<span class="muted">${t("prep.nojobs")}</span>`;
  const bad = of("error");
  return html`<div class="standing"><${Shares} of=${of} /><small class="muted">${count(of("complete"))} / ${count(data.length)}
    ${bad ? html`<b class="bad-text"> · ${t("stage.failed", { n: count(bad) })}</b>` : null}</small></div>`;
}

export function Preparation({ id, query }) {
  const path = `/preparation/${encodeURIComponent(id)}`;
  const [pause, setPause] = useState(3000);
  const { data, error, reload } = useLoad(async (signal) => {
    const all = await singularity("/preparation", { signal });
    const preparation = all.find((p) => String(p.id) === id || p.name === id);
    const sources = (await singularity(path, { signal })) ?? [];
    return { preparation, sources };
  }, [id], { every: pause });
  useEffect(() => { if (data) setPause(data.sources.some((s) => (s.jobs ?? []).length > MANY_JOBS) ? 30_000 : 3000); }, [data]);
  if (!data) {
    return error ? html`<header class="head"><h1>${t("prep.title", { name: id })}</h1></header>
      ${error.http === 404 ? html`<${Empty} icon="search" title=${t("prep.unknown")}><a href=${href("preparations")}>${t("nav.preparations")}</a><//>`
        : html`<${Fault} error=${error} retry=${reload} />`}` : html`<${Loading} />`;
  }
  const { preparation, sources } = data;
  const tab = query.tab ?? "jobs";
  const jobs = sources.flatMap((s) => s.jobs ?? []);
  const source = sources[0]?.source?.name;
  const submit = (executor) => href("submit", { executor, params: JSON.stringify({ preparation: preparation.name, ...(source && { source }) }) });
  return html`<nav class="crumbs" aria-label=${t("crumbs")}><a href=${href("preparations")}>${t("nav.preparations")}</a><${Icon} name="right" /><span>${preparation.name}</span></nav>
    <header class="head"><h1>${t("prep.title", { name: preparation.name })}</h1><div class="buttons">${["scan", "pack", "daggen"].map((one) => html`
      <a class="button" href=${submit(one)}><${Icon} name="play" />${one}</a>`)}<a class="button" href=${href("submit", { executor: "verify", params: JSON.stringify({ preparation: preparation.name }) })}>verify</a></div></header>
    ${error && html`<${Fault} error=${error} retry=${reload} />`}
    <div class="overview"><section class="card"><h2>${t("prep.jobs")}</h2><${Spread} jobs=${jobs} chosen=${query.state} /></section>
      <section class="card"><${Facts} rows=${[[t("prep.sources"), sources.map((s) => html`<div class="wrap">${s.source.name} <small class="muted">${s.source.path}</small></div>`)],
        [t("prep.outputs"), preparation.outputStorages?.length ? preparation.outputStorages.map((s) => html`<div class="wrap">${s.name} <small class="muted">${s.path}</small></div>`) : t("prep.inline")],
        [t("prep.max"), bytes(preparation.maxSize)], [t("prep.piece"), bytes(preparation.pieceSize)], [t("col.created"), plainDate(preparation.createdAt)]]} /></section></div>
    <${Tabs} label=${t("prep.parts")} current=${tab} onTab=${(name) => setQuery({ tab: name === "jobs" ? "" : name, page: "" }, { replace: true })}
      tabs=${[["jobs", t("prep.jobs"), count(jobs.length)], ["pieces", t("prep.pieces")]]} />
    <div id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>${tab === "jobs" ? html`<${Jobs} path=${path} sources=${sources} query=${query} reload=${reload} />` : html`<${Pieces} path=${path} />`}</div>`;
}

const Shares = ({ of }) => html`<div class="spread" aria-hidden="true">${ORDER.map((state) => of(state) > 0 && html`
  <i class="s-${JOB_STATES[state]}" style=${{ flexGrow: of(state) }}></i>`)}</div>`;

// The jobs by state; each state is a filter of the table below.
function Spread({ jobs, chosen }) {
  const of = (state) => jobs.filter((job) => job.state === state).length;
  if (!jobs.length) return html`<p class="muted">${t("prep.nojobs")}</p>`;
  return html`<${Shares} of=${of} />
    <ul class="legend">${ORDER.map((state) => of(state) > 0 && html`<li><button type="button" class="pick" aria-pressed=${chosen === state}
      onClick=${() => setQuery({ state: chosen === state ? "" : state, page: "", tab: "" }, { replace: true })}><${Badge} state=${JOB_STATES[state]} /><b>${count(of(state))}</b></button></li>`)}</ul>`;
}

// What Singularity's API allows in each state (its chapter 3.3).
const startable = (job) => ["created", "paused", "error"].includes(job.state) || (job.type !== "pack" && job.state === "complete");
const pausable = (job) => job.state === "ready" || job.state === "processing";

function Jobs({ path, sources, query, reload }) {
  const [busy, setBusy] = useState(false);
  const size = 50;
  const page = Math.max(1, Number(query.page) || 1);
  const all = sources.flatMap((s) => (s.jobs ?? []).map((job) => ({ ...job, source: s.source.name, storage: s.storageId })));
  if (!all.length) return html`<${Empty} icon="data" title=${t("prep.nojobs")}>${t("prep.nojobs.hint")}<//>`;
  const rows = query.state ? all.filter((job) => job.state === query.state) : all;
  const packs = all.filter((job) => job.type === "pack");
  const steer = async (verb, calls) => {
    setBusy(true);
    try {
      let done = 0;
      for (const call of calls) done += [await singularity(`${path}/source/${call}`, { method: "POST" })].flat().length;
      toast(t(`prep.done.${verb}`, { n: count(done) }));
    } catch (fault) { toast(fault.message, "bad"); }
    setBusy(false);
    reload(0);
  };
  const one = (verb, job) => steer(verb, [`${job.storage}/${verb}-${job.type}${job.type === "pack" ? `/${job.id}` : ""}`]);
  const every = (verb) => steer(verb, sources.map((s) => `${s.storageId}/${verb}-pack/0`));
  return html`<section class="card flush">
    ${packs.length > 0 && html`<header class="toolbar"><b>${query.state ? t("prep.shown", { n: count(rows.length), all: count(all.length) }) : ""}</b><span class="grow"></span>
      <${Button} kind="small" icon="play" busy=${busy} disabled=${!packs.some(startable)} onClick=${() => every("start")}>${t("prep.every.start")}<//>
      <${Button} kind="small" icon="pause" busy=${busy} disabled=${!packs.some(pausable)} onClick=${() => every("pause")}>${t("prep.every.pause")}<//></header>`}
    <div class="scroll"><table class="table"><thead><tr><th>${t("col.id")}</th><th>${t("prep.kind")}</th><th>${t("col.state")}</th>
      <th class="opt">${t("prep.sources")}</th><th>${t("prep.task")}</th><th class="opt">${t("prep.error")}</th><th><span class="sr">${t("col.actions")}</span></th></tr></thead>
    <tbody>${rows.slice((page - 1) * size, page * size).map((job) => html`<tr key=${job.id}><td>${job.id}</td><td>${job.type}</td><td><${Badge} state=${JOB_STATES[job.state] ?? "created"} /></td>
      <td class="opt">${job.source}</td><td>${job.taskId ? html`<a class="id" href=${href(`tasks/${job.taskId}`)}>${job.taskId}</a>` : "–"}</td>
      <td class="opt"><small class="reason" title=${job.errorMessage}>${job.errorMessage}</small></td>
      <td class="row-actions">${pausable(job) && html`<${Button} kind="square ghost" icon="pause" busy=${busy} label=${t("prep.one.pause", { id: job.id })} onClick=${() => one("pause", job)} />`}
        ${startable(job) && html`<${Button} kind="square ghost" icon=${job.state === "complete" ? "rerun" : "play"} busy=${busy} label=${t("prep.one.start", { id: job.id })} onClick=${() => one("start", job)} />`}</td></tr>`)}</tbody></table></div>
    <footer class="foot"><span></span><${Pager} page=${page} size=${size} total=${rows.length} onPage=${(n) => setQuery({ page: n === 1 ? "" : n })} /></footer></section>`;
}

function Pieces({ path }) {
  const { data, error, reload } = useLoad((signal) => singularity(`${path}/piece`, { signal }).catch((fault) => {
    if (fault.http === 404) return [];
    throw fault;
  }), [path]);
  const [page, setPage] = useState(1);
  const size = 50;
  if (error && !data) return html`<${Fault} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  const rows = data.flatMap((list) => list.pieces ?? []);
  if (!rows.length) return html`<${Empty} icon="data" title=${t("prep.nopieces")}>${t("prep.nopieces.hint")}<//>`;
  return html`<section class="card flush"><div class="scroll"><table class="table"><thead><tr><th>${t("prep.piececid")}</th><th>${t("prep.kind")}</th><th class="num">${t("prep.size")}</th>
      <th class="num">${t("prep.carsize")}</th><th class="num">${t("progress.files")}</th><th>${t("prep.root")}</th><th>${t("prep.path")}</th></tr></thead>
    <tbody>${rows.slice((page - 1) * size, page * size).map((car) => html`<tr><td class="mono cid" title=${`${car.pieceCid}\n${car.pieceCidV2}`}><span>${car.pieceCid}</span><${Copy} text=${car.pieceCid} /></td>
      <td>${car.pieceType}</td><td class="num">${bytes(car.pieceSize)}</td><td class="num">${bytes(car.fileSize)}</td><td class="num">${count(car.numOfFiles)}</td>
      <td class="mono cid" title=${car.rootCid}><span>${car.rootCid}</span></td><td class="mono cell" title=${car.storagePath}>${car.storagePath || t("prep.inline")}</td></tr>`)}</tbody></table></div>
    <footer class="foot"><span class="muted">${t("prep.sum", { n: count(rows.length), size: bytes(rows.reduce((sum, car) => sum + car.pieceSize, 0)) })}</span>
      <${Pager} page=${page} size=${size} total=${rows.length} onPage=${setPage} /></footer></section>`;
}
