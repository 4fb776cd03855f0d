// The result table of a task, page by page.
import { html, useState } from "../lib.js";
import { call } from "../api.js";
import { t } from "../i18n.js";
import { count } from "../format.js";
import { useLoad } from "../load.js";
import { Button, Empty, Fault, Loading, save } from "../ui.js";

const SIZE = 100;
const NUMBERS = new Set(["int", "bigint", "double", "long", "float"]);
const quoted = (cell) => (/[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

export function Result({ task }) {
  const [page, setPage] = useState(1);
  const [saving, setSaving] = useState(false);
  const open = (n, size, signal, path) => call("/filesystem/openFile", { query: { path, page: n, pageSize: size, nullValue: " " }, signal });
  const { data, error, loading, reload } = useLoad(async (signal) => {
    const { dirFileTrees } = await call("/filesystem/getDirFileTrees", { query: { path: task.resultLocation }, signal });
    const path = dirFileTrees?.children?.[0]?.path;
    if (!path) return { path: null };
    const found = await open(page, SIZE + 1, signal, path).then(async (told) => (page === 1 ? told : open(page, SIZE, signal, path)));
    const rows = found.fileContent.slice(0, SIZE);
    const more = page === 1 ? found.fileContent.length > SIZE : rows.length === SIZE;
    return { path, columns: found.metadata, rows, more };
  }, [task.taskID, task.status, page]);
  const download = async () => {
    setSaving(true);
    try {
      const parts = [`${data.columns.map((c) => quoted(c.columnName)).join(",")}\r\n`];
      for (let n = 1; ; n += 1) {
        const { fileContent } = await open(n, 5000, undefined, data.path);
        if (fileContent.length) parts.push(`${fileContent.map((row) => row.map((c) => quoted(c === " " ? "" : c)).join(",")).join("\r\n")}\r\n`);
        if (fileContent.length < 5000) break;
      }
      save(`${task.taskID}.csv`, parts, "text/csv");
    } finally { setSaving(false); }
  };
  if (error && !data) return html`<${Fault} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  if (!data.path) return html`<${Empty} icon="data" title=${t("result.none")}>${t("result.when")}<//>`;
  return html`<section class="card flush ${loading ? "dim" : ""}">
    <div class="scroll"><table class="table"><thead><tr>${data.columns.map((c) => html`
      <th class=${NUMBERS.has(c.dataType) ? "num" : ""} title=${c.comment || c.dataType}>${c.columnName}</th>`)}</tr></thead>
    <tbody>${data.rows.map((row) => html`<tr>${row.map((cell, i) => html`
      <td class=${NUMBERS.has(data.columns[i].dataType) ? "num" : "cell"} title=${cell}>${cell}</td>`)}</tr>`)}</tbody></table></div>
    <footer class="foot"><${Button} kind="small" icon="download" busy=${saving} onClick=${download}>CSV<//>
      <nav class="pager"><span class="muted">${data.rows.length
        ? t("result.rows", { first: count((page - 1) * SIZE + 1), last: count((page - 1) * SIZE + data.rows.length) }) : t("result.end")}</span>
      <${Button} kind="square" icon="left" label=${t("pager.before")} disabled=${page === 1} onClick=${() => setPage(page - 1)} />
      <${Button} kind="square" icon="right" label=${t("pager.after")} disabled=${!data.more} onClick=${() => setPage(page + 1)} /></nav></footer>
  </section>`;
}
