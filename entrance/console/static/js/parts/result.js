// The result table of a task, page by page.
import { html, useState } from "../lib.js";
import { call, LINKIS, queryOf } from "../api.js";
import { t } from "../i18n.js";
import { bytes, count, time } from "../format.js";
import { useLoad } from "../load.js";
import { Button, Empty, Fault, Icon, Loading } from "../ui.js";

const SIZE = 100;
const NUMBERS = new Set(["int", "bigint", "double", "long", "float"]);

// A cell as people read it, by what the column's comment says of it; the exact value is its tooltip and in the files.
function shown(cell, column) {
  if (!NUMBERS.has(column.dataType) || cell.trim() === "" || !Number.isFinite(Number(cell))) return cell;
  if (/^nanoseconds since 1970/.test(column.comment)) return time(Number(cell) / 1e6);
  return /\bbytes\b/.test(column.comment) ? bytes(Number(cell)) : count(Number(cell));
}

export function Result({ task }) {
  const [page, setPage] = useState(1);
  const open = (n, size, signal, path) => call("/filesystem/openFile", { query: { path, page: n, pageSize: size, nullValue: " " }, signal });
  const { data, error, loading, reload } = useLoad(async (signal) => {
    const { dirFileTrees } = await call("/filesystem/getDirFileTrees", { query: { path: task.resultLocation }, signal });
    const path = dirFileTrees?.children?.[0]?.path;
    if (!path) return { path: null };
    const { metadata, fileContent: rows } = await open(page, SIZE, signal, path);
    const next = rows.length < SIZE ? [] : (await open(page * SIZE + 1, 1, signal, path)).fileContent;
    return { path, columns: metadata, rows, more: next.length > 0 };
  }, [task.taskID, task.status, page]);
  const file = (kind) => `${LINKIS}/filesystem/resultsetToExcel${queryOf({
    path: data.path, outputFileType: kind, outputFileName: `task-${task.taskID}`, sheetName: task.engineType, nullValue: "BLANK" })}`;
  if (error && !data) return html`<${Fault} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  if (!data.path) return html`<${Empty} icon="data" title=${t("result.none")}>${t("result.when")}<//>`;
  return html`<section class="card flush ${loading ? "dim" : ""}">
    <div class="scroll"><table class="table"><thead><tr>${data.columns.map((c) => html`
      <th class=${NUMBERS.has(c.dataType) ? "num" : ""} title=${c.comment || c.dataType}>${c.columnName}</th>`)}</tr></thead>
    <tbody>${data.rows.map((row) => html`<tr>${row.map((cell, i) => html`
      <td class=${NUMBERS.has(data.columns[i].dataType) ? "num" : "cell"} title=${cell}>${shown(cell, data.columns[i])}</td>`)}</tr>`)}</tbody></table></div>
    <footer class="foot"><span class="buttons">${[["csv", "CSV"], ["xlsx", "Excel"]].map(([kind, text]) => html`
        <a class="button small" href=${file(kind)} download><${Icon} name="download" />${text}</a>`)}</span>
      <nav class="pager"><span class="muted">${data.rows.length
        ? t("result.rows", { first: count((page - 1) * SIZE + 1), last: count((page - 1) * SIZE + data.rows.length) }) : t("result.end")}</span>
      <${Button} kind="square" icon="left" label=${t("pager.before")} disabled=${page === 1} onClick=${() => setPage(page - 1)} />
      <${Button} kind="square" icon="right" label=${t("pager.after")} disabled=${!data.more} onClick=${() => setPage(page + 1)} /></nav></footer>
  </section>`;
}
