import { readFileSync } from "node:fs";
import { GptOssError } from "../errors.js";
import { type BenchRow, rowKey } from "./rows.js";
import { type Ratio, ratioOfMedians, verdictOf } from "./statistics.js";

/** Rows of an earlier run, and the verdict of a new row beside its old one. */

export interface Verdict {
  row: BenchRow;
  /** The new value as a part of the old one, with its interval; null: the earlier run has no such row. */
  ratio: Ratio | null;
  verdict: "faster" | "slower" | "same" | "new";
}

/** Smaller changes than this part do not count, whatever their interval. */
export const leastChange = 0.01;
export const baselineConfidence = 0.99;

/** Reads rows from JSON lines. @throws GptOssError INVALID_ARGUMENT for a file that cannot be read, or has no rows */
export function readRows(file: string): BenchRow[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new GptOssError("INVALID_ARGUMENT", `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  const rows: BenchRow[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const row = parsed(line);
    if (!isRow(row)) {
      const expected = 'expected a row of "gpt-oss bench", with schema 1';
      throw new GptOssError("INVALID_ARGUMENT", `${file}, line ${i + 1}: ${expected}`);
    }
    rows.push(row);
  }
  if (rows.length === 0) throw new GptOssError("INVALID_ARGUMENT", `${file} has no rows`);
  return rows;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function isRow(value: unknown): value is BenchRow {
  if (!isObject(value)) return false;
  const { schema, bench, name, parameters, values, about } = value;
  if (schema !== 1 || typeof bench !== "string" || typeof name !== "string") return false;
  if (!isObject(parameters) || !isObject(values) || !isObject(about)) return false;
  if (Object.keys(values).length === 0) return false;
  return Object.values(values).every(
    (one) =>
      isObject(one) &&
      typeof one.unit === "string" &&
      ["median", "min", "max"].every((key) => typeof one[key] === "number") &&
      (one.samples === undefined || (Array.isArray(one.samples) && one.samples.every(Number.isFinite))),
  );
}

export function verdicts(rows: readonly BenchRow[], baseline: readonly BenchRow[]): Verdict[] {
  const known = new Map(baseline.map((row) => [rowKey(row), row]));
  return rows.map((row) => {
    const before = known.get(rowKey(row));
    const [name, now] = Object.entries(row.values)[0]!;
    const old = before?.values[name];
    if (!old) return { row, ratio: null, verdict: "new" };
    const ratio = ratioOfMedians(old.samples ?? [old.median], now.samples ?? [now.median], baselineConfidence);
    return { row, ratio, verdict: now.better === null ? "same" : verdictOf(ratio, now.better, leastChange) };
  });
}
