// A form from a JSON schema (as GET /executors gives it) and back: what was typed becomes the executor's parameters.
import { html, useState } from "../lib.js";
import { t } from "../i18n.js";
import { told as words } from "../words-zh.js";

const kindOf = (schema) => {
  const types = [schema.type ?? "any"].flat().filter((type) => type !== "null");
  if (schema.enum) return "choice";
  if (schema.format === "size") return "size";
  if (types.includes("object")) return schema.properties ? "group" : "json";
  if (types.includes("array")) return schema.items?.enum ? "choices" : schema.items?.type === "string" ? "lines" : "json";
  return types[0];
};

// What a field shows is text, true or false, or a list; this makes a JSON value of it. undefined = not given.
function valueOf(schema, raw) {
  const kind = kindOf(schema);
  if (kind === "group") {
    const inside = valuesOf(schema, raw ?? {});
    return Object.keys(inside).length ? inside : undefined;
  }
  if (raw === undefined || raw === null || raw === "" || (Array.isArray(raw) && !raw.length && !schema.default?.length)) return undefined;
  if (kind === "integer" || kind === "number") return Number.isFinite(Number(raw)) ? Number(raw) : raw;
  if (kind === "size" || kind === "any") return /^\d+$/.test(raw) ? Number(raw) : raw;
  if (kind === "lines") return String(raw).split("\n").map((line) => line.trim()).filter(Boolean);
  if (kind === "json") { try { return JSON.parse(raw); } catch { return raw; } }
  if (kind === "boolean") return raw === (schema.default ?? false) ? undefined : raw;
  return raw;
}

export function valuesOf(schema, raw) {
  const made = {};
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const value = valueOf(inner, raw[name]);
    if (value !== undefined) made[name] = value;
  }
  return made;
}

// The opposite: what the fields show for given parameters.
export function rawOf(schema, values) {
  const made = {};
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const value = values?.[name];
    if (value === undefined || value === null) continue;
    const kind = kindOf(inner);
    if (kind === "group") made[name] = rawOf(inner, value);
    else if (kind === "lines") made[name] = [value].flat().join("\n");
    else if (kind === "json") made[name] = JSON.stringify(value, null, 2);
    else made[name] = kind === "boolean" || kind === "choices" ? value : String(value);
  }
  return made;
}

export function Fields({ schema, raw, onRaw, faults, path = "" }) {
  return html`<div class="fields">${Object.entries(schema.properties ?? {}).map(([name, inner]) => html`
    <${Field} key=${name} name=${name} schema=${inner} path=${path ? `${path}.${name}` : name} faults=${faults}
      needed=${schema.required?.includes(name)} value=${raw[name]} onValue=${(value) => onRaw({ ...raw, [name]: value })} />`)}</div>`;
}

function Field({ name, schema, path, needed, value, onValue, faults }) {
  const kind = kindOf(schema);
  const title = schema.title ? words(schema.title) : name;
  const description = schema.description ? words(schema.description) : "";
  const fault = faults[path];
  const id = `f-${path}`;
  const told = { "aria-invalid": fault ? "true" : undefined, "aria-describedby": `${id}-hint`, required: needed };
  const standard = schema.default === undefined || schema.default === null || schema.default === "" || schema.default === 0 ? "" : String(schema.default);
  const example = schema.examples?.[0];
  const placeholder = standard || (example !== undefined ? t("form.example", { example: [example].flat().join(", ") }) : "");
  const hint = html`<small id=${`${id}-hint`} class="hint">${description}${fault && html`<b class="bad-text"> ${fault}</b>`}</small>`;
  const onInput = (event) => onValue(event.target.value);
  if (kind === "group") {
    return html`<fieldset class="group"><legend>${title}</legend><small class="hint">${description}</small>
      <${Fields} schema=${schema} raw=${value ?? {}} onRaw=${onValue} faults=${faults} path=${path} /></fieldset>`;
  }
  if (kind === "boolean") {
    return html`<div class="field"><label class="check"><input type="checkbox" id=${id} checked=${value ?? schema.default ?? false}
      onChange=${(e) => onValue(e.target.checked)} />${title}</label>${hint}</div>`;
  }
  if (kind === "choices") {
    const chosen = value ?? schema.default ?? [];
    return html`<fieldset class="field"><legend>${title}</legend><div class="checks">${schema.items.enum.map((one) => html`
      <label class="check"><input type="checkbox" checked=${chosen.includes(one)} onChange=${(e) => onValue(e.target.checked ? [...chosen, one] : chosen.filter((c) => c !== one))} />${one}</label>`)}</div>${hint}</fieldset>`;
  }
  return html`<div class="field"><label for=${id} class=${needed ? "needed" : ""}>${title}</label>
    ${kind === "choice" ? html`<select id=${id} ...${told} value=${value ?? ""} onChange=${onInput}>
        <option value="">${standard ? t("form.standard", { value: standard }) : "–"}</option>${schema.enum.map((one) => html`<option value=${one}>${one}</option>`)}</select>`
      : kind === "lines" || kind === "json" ? html`<textarea id=${id} ...${told} rows="3" placeholder=${kind === "lines" ? t("form.lines") : "{}"} value=${value ?? ""} onInput=${onInput}></textarea>`
      : html`<input id=${id} ...${told} inputmode=${kind === "integer" ? "numeric" : kind === "number" ? "decimal" : undefined} placeholder=${placeholder}
          value=${value ?? ""} onInput=${onInput} autocomplete="off" spellcheck=${false} />`}${hint}</div>`;
}

// Raw JSON, checked as it is typed.
export function RawJson({ text, onText }) {
  const [fault, setFault] = useState("");
  const typed = (event) => {
    const { value } = event.target;
    let bad = "";
    try {
      const made = JSON.parse(value || "{}");
      if (made === null || typeof made !== "object" || Array.isArray(made)) bad = t("form.object");
    } catch (error) { bad = error.message; }
    setFault(bad);
    onText(value, !bad);
  };
  return html`<label class="field"><span>${t("form.json")}</span>
    <textarea class="mono" rows="14" spellcheck=${false} value=${text} onInput=${typed} aria-invalid=${fault ? "true" : undefined}></textarea>
    <small class="hint">${fault ? html`<b class="bad-text">${fault}</b>` : t("form.json.hint")}</small></label>`;
}
