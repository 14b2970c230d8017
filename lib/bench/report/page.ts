import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { packageRoot } from "../../package-root.js";
import type { ReportFile } from "./files.js";
import { type Section, sectionsOf } from "./sections.js";
import { type Cell, type Table, tablesOf } from "./tables.js";

/**
 * One page with everything in it: plots, tables, style and programs. Its policy permits no request and no other program,
 * so text of a result file stays text whatever it says.
 */
export function reportPage(files: readonly ReportFile[]): string {
  const sections = sectionsOf(files);
  const { machines, ratios, rows } = tablesOf(files);
  const { style, library, client, licence } = parts();
  const policy = [
    "default-src 'none'",
    `style-src ${hashOf(style)}`,
    `script-src ${hashOf(library)} ${hashOf(client)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(`gpt-oss bench: ${files.map(({ name }) => name).join(", ")}`)}</title>
<style>${style}</style>
</head>
<body>
<h1>gpt-oss bench</h1>
${tableHtml(machines, { isSortable: false })}
${sections.map(sectionHtml).join("\n")}
${ratios ? tableHtml(ratios, { isSortable: true }) : ""}
${rows.map((table) => tableHtml(table, { isSortable: true })).join("\n")}
<noscript><p>The plots need JavaScript.</p></noscript>
<script type="application/json" id="sections">${jsonText(sections)}</script>
<!--
The next script is uPlot.
${licence.replaceAll("--", "- -")}
-->
<script>${library}</script>
<script type="module">${client}</script>
</body>
</html>
`;
}

/** What is the same in every page. */
function parts() {
  const own = (file: string) => readFileSync(path.join(packageRoot, "lib/bench/report", file), "utf8");
  const library = path.dirname(createRequire(import.meta.url).resolve("uplot/package.json"));
  const theirs = (file: string) => readFileSync(path.join(library, file), "utf8");
  return {
    style: theirs("dist/uPlot.min.css") + own("page.css"),
    library: theirs("dist/uPlot.iife.min.js"),
    licence: theirs("LICENSE"),
    client: own("client.mjs"),
  };
}

const hashOf = (source: string) => `'sha256-${createHash("sha256").update(source).digest("base64")}'`;

export function escaped(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character]!);
}

/** JSON that cannot end the element that holds it. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

function sectionHtml({ bench, measures }: Section, index: number): string {
  const options = measures.map((name) => `<option>${escaped(name)}</option>`).join("");
  const choice = measures.length > 1 ? `<label>Value <select>${options}</select></label>` : "";
  return `<section class="plots" data-section="${index}">
<header><h2>${escaped(bench)}</h2>${choice}</header>
<div class="charts"></div>
</section>`;
}

function tableHtml({ title, note, columns, rows }: Table, { isSortable }: { isSortable: boolean }): string {
  const isNumber = columns.map((_, i) => rows.every((row) => row[i]!.sort !== undefined || row[i]!.text === ""));
  const head = columns
    .map((column, i) => {
      const name = escaped(column);
      return `<th scope="col"${numeric(isNumber[i]!)}>${isSortable ? `<button type="button">${name}</button>` : name}</th>`;
    })
    .join("");
  const body = rows.map((row) => `<tr>${row.map((cell, i) => cellHtml(cell, isNumber[i]!)).join("")}</tr>`).join("\n");
  return `<section class="rows">
<header><h2>${escaped(title)}</h2><button type="button" class="copy">Copy as Markdown</button></header>
${note === "" ? "" : `<p>${escaped(note)}</p>`}
<div class="scroll"><table>
<thead><tr>${head}</tr></thead>
<tbody>
${body}
</tbody>
</table></div>
</section>`;
}

function cellHtml({ text, sort, tone }: Cell, isNumber: boolean): string {
  const order = sort === undefined ? "" : ` data-sort="${sort}"`;
  const classes = [...(isNumber ? ["number"] : []), ...(tone ? [tone] : [])].join(" ");
  return `<td${classes === "" ? "" : ` class="${classes}"`}${order}>${escaped(text)}</td>`;
}

const numeric = (isNumber: boolean) => (isNumber ? ' class="number"' : "");
