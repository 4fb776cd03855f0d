// Figures for people. Sizes are binary, times local.
import { lang } from "./i18n.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value, digits = 1) {
  if (value === null || value === undefined) return "–";
  let unit = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && unit < UNITS.length - 1) { rest /= 1024; unit += 1; }
  return `${unit === 0 ? rest.toFixed(0) : rest.toFixed(rest >= 100 ? 0 : digits)} ${UNITS[unit]}`;
}

export const rate = (value) => (value === null || value === undefined ? "–" : `${bytes(value)}/s`);
export const count = (value) => (value ?? 0).toLocaleString(lang.value);
export const percent = (fraction) => `${(Math.floor(fraction * 1000) / 10).toFixed(fraction === 1 ? 0 : 1)} %`;

export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function time(ms) {
  if (!ms) return "–";
  return new Intl.DateTimeFormat(lang.value, { dateStyle: lang.value === "zh" ? "short" : "medium", timeStyle: "medium", hourCycle: "h23" }).format(ms);
}

export function ago(ms, now = Date.now()) {
  if (!ms) return "–";
  const s = Math.round((ms - now) / 1000);
  const format = new Intl.RelativeTimeFormat(lang.value, { numeric: "auto", style: "narrow" });
  const a = Math.abs(s);
  if (a < 60) return format.format(s, "second");
  if (a < 3600) return format.format(Math.round(s / 60), "minute");
  if (a < 86400) return format.format(Math.round(s / 3600), "hour");
  return format.format(Math.round(s / 86400), "day");
}
