import path from "node:path";
import type { BenchRow } from "../rows.js";

/** A file of rows that stands beside others in a report. */
export interface ReportFile {
  /** Its name in legends and tables. */
  name: string;
  rows: readonly BenchRow[];
}

/** Names for legends: without folder and ending, as far as they stay distinct. */
export function fileNames(files: readonly string[]): string[] {
  const isDistinct = (names: readonly string[]) => new Set(names).size === names.length;
  const short = files.map((file) => path.basename(file).replace(/\.(json|jsonl|ndjson)$/, ""));
  if (isDistinct(short)) return short;
  return isDistinct(files) ? [...files] : files.map((file, i) => `${file} (${i + 1})`);
}

/** The benches of all files, in the order of their first rows. */
export function benchesOf(files: readonly ReportFile[]): string[] {
  return [...new Set(files.flatMap(({ rows }) => rows.map(({ bench }) => bench)))];
}
