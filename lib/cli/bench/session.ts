import { about } from "../../bench/about.js";
import { readRows, type Verdict, verdicts } from "../../bench/baseline.js";
import type { BenchRow, NewRow } from "../../bench/rows.js";
import { aligned, short, tableOf } from "../../bench/table.js";
import { Interrupted } from "../exit.js";
import { Output } from "../output.js";

/** The course of every bench command: progress, rows as they come, a table at the end, Ctrl-C between two samples. */

export interface BenchFlags {
  json?: true;
  baseline?: string;
}

export async function runBench(
  { json, baseline }: BenchFlags,
  measure: (progress: (text: string) => void, signal: AbortSignal) => AsyncIterable<NewRow>,
  tables: (rows: readonly BenchRow[]) => string[] = tablesOf,
): Promise<BenchRow[]> {
  const before = baseline === undefined ? undefined : readRows(baseline); // first: a wrong name costs no measurement
  const [out, status] = [Output.stdout(), Output.stderr()];
  const abort = new AbortController();
  const interrupt = () => abort.abort(new Interrupted());
  process.once("SIGINT", interrupt); // a second Ctrl-C ends the process at once
  const rows: BenchRow[] = [];
  try {
    const facts = about();
    for await (const row of measure((text) => status.status(text), abort.signal)) {
      rows.push({ schema: 1, ...row, about: { ...facts, ...row.about } });
      if (json) out.line(JSON.stringify(rows.at(-1)));
    }
  } finally {
    process.off("SIGINT", interrupt);
    status.status("");
    if (!json) for (const line of tables(rows)) out.line(line);
  }
  if (before !== undefined) for (const line of verdictLines(verdicts(rows, before))) (json ? status : out).line(line);
  return rows;
}

/** A table for each operation or mode: their columns differ. */
function tablesOf(rows: readonly BenchRow[]): string[] {
  const names = [...new Set(rows.map(({ name }) => name))];
  return names.flatMap((name, i) => {
    const [facts, ...lines] = tableOf(rows.filter((row) => row.name === name));
    return [...(i === 0 ? [facts!] : []), "", ...lines];
  });
}

function verdictLines(found: readonly Verdict[]): string[] {
  const lines = found.map(({ row, ratio, verdict }) => [
    verdict,
    [row.name, ...Object.entries(row.parameters).map(([name, value]) => `${name} ${value}`)].join(", "),
    ratio === null ? "" : `x ${short(ratio.ratio)} [${short(ratio.low)} .. ${short(ratio.high)}]`,
  ]);
  const count = (verdict: string) => found.filter((one) => one.verdict === verdict).length;
  const summary = `${count("faster")} faster, ${count("slower")} slower, ${count("same")} the same, ${count("new")} new`;
  return ["", "Beside the baseline:", ...aligned(lines, 2), summary];
}
