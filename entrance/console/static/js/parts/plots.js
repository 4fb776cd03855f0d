// CPU, memory and bytes over time. uPlot comes when the first plot is looked at.
import { html, useEffect, useRef, useState } from "../lib.js";
import { call } from "../api.js";
import { t, lang } from "../i18n.js";
import { bytes, rate } from "../format.js";
import { Empty, Fault, Loading } from "../ui.js";

const HEIGHT = 170;
const BINARY = Array.from({ length: 56 }, (_, i) => 2 ** i); // steps of an axis that counts bytes
let library = null;

function load() {
  library ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "/console/vendor/uPlot.iife.min.js";
    script.onload = () => done(window.uPlot);
    script.onerror = () => { library = null; failed(new Error("offline")); };
    document.head.append(script);
  });
  return library;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";

// light-dark() is resolved only on a real property
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found || colour(name);
}

function Plot({ title, series, data, value, now, binary }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const turned = () => setTheme((n) => n + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("themechange", turned);
    system.addEventListener("change", turned);
    return () => { removeEventListener("themechange", turned); system.removeEventListener("change", turned); };
  }, []);
  useEffect(() => {
    let gone = false;
    load().then((UPlot) => {
      if (gone) return;
      const axis = { stroke: resolved("--muted"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      plot.current = new UPlot({
        width: box.current.clientWidth, height: HEIGHT, padding: [8, 30, 0, 0],
        cursor: { points: { size: 6 }, drag: { x: false, y: false }, sync: { key: "task" } }, legend: { show: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1e-9) * 1.1] } },
        series: [{}, ...series.map(({ stroke, fill }) => ({
          stroke: resolved(stroke), width: 2, points: { show: false }, ...(fill && { fill: resolved(fill) }) }))],
        axes: [{ ...axis, size: 28, space: 70, values: (_, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString(lang.value, { hour12: false })) },
          { ...axis, size: 72, space: 34, values: (_, at) => at.map((v) => value(v)), ...(binary && { incrs: BINARY }) }],
      }, data, box.current);
    }).catch(() => {});
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    observer.observe(box.current);
    return () => { gone = true; observer.disconnect(); plot.current?.destroy(); plot.current = null; };
  }, [theme, lang.value]);
  useEffect(() => { plot.current?.setData(data); }, [data]);
  return html`<figure class="plot card"><figcaption><b>${title}</b>
    <span class="keys">${series.map(({ name, stroke }, i) => html`<span><i style=${{ background: `var(${stroke})` }}></i>${name}
      <b>${now[i]}</b></span>`)}</span></figcaption><div ref=${box} class="canvas" role="img" aria-label=${`${title}: ${now.join(", ")}`}></div></figure>`;
}

// Bytes per second between two points; a new attempt counts from zero.
function speeds(points, name) {
  return points.map((point, i) => {
    if (!i) return 0;
    const seconds = (point.t - points[i - 1].t) / 1000;
    return seconds > 0 ? Math.max(0, point[name] - points[i - 1][name]) / seconds : 0;
  });
}

export function Plots({ task, ended, inBytes }) {
  const [points, setPoints] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    const stopped = new AbortController();
    const ask = async () => {
      try {
        // the whole series: it is 720 points at most, and thins itself out as it grows
        const told = await call(`/entrance/${task}/metrics`, { signal: stopped.signal });
        setPoints(told.metrics);
        setError(null);
      } catch (fault) { if (fault.name !== "AbortError") setError(fault); }
    };
    ask();
    const timer = ended ? 0 : setInterval(() => { if (!document.hidden) ask(); }, 2000);
    return () => { stopped.abort(); clearInterval(timer); };
  }, [task, ended]);
  if (error && !points) return html`<${Fault} error=${error} />`;
  if (!points) return html`<${Loading} />`;
  if (points.length < 2) return html`<${Empty} icon="clock" title=${t("plot.none")}>${t(ended ? "plot.short" : "plot.soon")}<//>`;
  const last = points[points.length - 1];
  const x = points.map((p) => p.t / 1000);
  const column = (name) => points.map((p) => p[name]);
  const [read, written] = [speeds(points, "readBytes"), speeds(points, "writtenBytes")];
  const cores = (v) => v.toFixed(v < 10 ? 2 : 0);
  return html`<div class="plots">
    <${Plot} title=${t("plot.cpu")} value=${cores} data=${[x, column("cpu")]} now=${[cores(last.cpu)]}
      series=${[{ name: t("plot.cores"), stroke: "--plot-1", fill: "--plot-1-soft" }]} />
    <${Plot} title=${t("plot.memory")} value=${(v) => bytes(v, 0)} binary data=${[x, column("rss")]} now=${[bytes(last.rss)]}
      series=${[{ name: t("plot.resident"), stroke: "--plot-2", fill: "--plot-2-soft" }]} />
    <${Plot} title=${t("plot.bytes")} value=${(v) => rate(v)} binary data=${[x, ...(inBytes ? [column("rate")] : []), read, written]}
      now=${[...(inBytes ? [rate(last.rate)] : []), rate(read.at(-1)), rate(written.at(-1))]}
      series=${[...(inBytes ? [{ name: t("plot.work"), stroke: "--plot-1", fill: "--plot-1-soft" }] : []),
        { name: t("plot.read"), stroke: "--plot-2" }, { name: t("plot.written"), stroke: "--plot-3" }]} />
  </div>`;
}
