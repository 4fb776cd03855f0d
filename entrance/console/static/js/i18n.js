// Every word of the console in both languages, side by side. ``t("key", {n: 3})`` fills ``{n}``.
import { recall, remember, Signal } from "./store.js";
import { TEXTS } from "./texts.js";

const first = () => (navigator.language?.toLowerCase().startsWith("zh") ? "zh" : "en");

export const lang = new Signal(recall("lang") === "zh" || recall("lang") === "en" ? recall("lang") : first());

export function setLang(next) {
  remember("lang", next);
  lang.value = next;
}

export function t(key, values = {}) {
  const found = TEXTS[key]?.[lang.value === "zh" ? 1 : 0] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
