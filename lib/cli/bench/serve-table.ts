import type { BenchRow, BenchValue } from "../../bench/rows.js";
import { aligned, short } from "../../bench/table.js";

/** The table of `gpt-oss bench serve`: a column for each level of load. */

const labels: readonly [name: string, label: string][] = [
  ["outputThroughput", "output tokens/s"],
  ["totalThroughput", "all tokens/s"],
  ["requestThroughput", "requests/s"],
  ["goodput", "goodput requests/s"],
  ...(["ttft", "tpot", "itl", "e2e"] as const).flatMap((name): [string, string][] => [
    [`${name}Mean`, `${name.toUpperCase()} mean ms`],
    [name, `${name.toUpperCase()} median ms`],
    [`${name}P99`, `${name.toUpperCase()} p99 ms`],
  ]),
  ["completed", "completed requests"],
  ["failed", "failed requests"],
  ["inputTokens", "input tokens"],
  ["outputTokens", "output tokens"],
  ["duration", "duration s"],
];
/** So many levels fit side by side into the 80 columns of a terminal. */
const mostColumns = 5;

export function serveTables(rows: readonly BenchRow[]): string[] {
  const [first] = rows;
  if (first === undefined) return [];
  const { parameters, about } = first;
  const lines = [`${parameters.model} at ${about.url}, ${parameters.endpoint}`];
  for (let i = 0; i < rows.length; i += mostColumns) lines.push("", ...table(rows.slice(i, i + mostColumns)));
  const notes = [...new Set(rows.flatMap(notesOf))];
  return notes.length > 0 ? [...lines, "", ...notes] : lines;
}

function table(rows: readonly BenchRow[]): string[] {
  const title = rows[0]!.name === "closed-loop" ? "concurrency" : "rate, requests/s";
  const load = rows.map(({ parameters: { concurrency, rate } }) => String(concurrency ?? rate));
  const measured = labels.filter(([name]) => rows.some(({ values }) => values[name] !== undefined));
  const lines = measured.map(([name, label]) => [label, ...rows.map(({ values }) => cell(values[name]))]);
  return aligned([[title, ...load], ...lines], 1);
}

function cell(value: BenchValue | undefined): string {
  if (value === undefined) return "-";
  const isCount = value.unit === "requests" || value.unit === "tokens";
  return isCount ? String(value.median) : short(value.median);
}

function notesOf({ about }: BenchRow): string[] {
  const counts: Record<string, string> = {
    pieces: "The server tells no usage: a piece of text counts as a token, and our tokenizer counted the prompts.",
    "usage and pieces":
      "The server tells the usage of some requests only; in the others, a piece of text counts as a token.",
  };
  const note = counts[String(about.tokensCountedBy)];
  return [
    ...(note === undefined ? [] : [note]),
    ...(about.interrupted ? ["Interrupted: the last level is not whole."] : []),
  ];
}
