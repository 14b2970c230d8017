import type { BenchRow, BenchUnit, BenchValue } from "./rows.js";

/** Rows as a table for people: the parameters in which they differ, then the values. */

export function tableOf(rows: readonly BenchRow[]): string[] {
  if (rows.length === 0) return [];
  const names = [...new Set(rows.flatMap(({ parameters }) => Object.keys(parameters)))];
  const differing = names.filter((name) => new Set(rows.map(({ parameters }) => parameters[name])).size > 1);
  const common = names.filter((name) => !differing.includes(name));
  const values = [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
  const header = [rows[0]!.bench, ...differing, ...values.map((name) => titleOf(rows, name))];
  const body = rows.map((row) => [
    row.name,
    ...differing.map((name) => String(row.parameters[name] ?? "")),
    ...values.map((name, i) => (row.values[name] ? textOf(row.values[name], i === 0) : "")),
  ]);
  const facts = common
    .map((name) => `${name} ${rows[0]!.parameters[name]}`)
    .filter((fact) => !fact.endsWith(" undefined"));
  return [[rows[0]!.about.cpu, ...facts].join(", "), ...aligned([header, ...body], differing.length + 1)];
}

/** Columns, the first `texts` of them flush left, and numbers flush right. */
export function aligned(lines: readonly (readonly string[])[], texts: number): string[] {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines.map((line) =>
    line
      .map((cell, column) => (column < texts ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd(),
  );
}

function titleOf(rows: readonly BenchRow[], name: string): string {
  return `${name} ${shownUnit(rows.find((row) => row.values[name])!.values[name]!.unit).name}`;
}

/** A unit as people read it, and how many of it one of the rows' unit is. */
export function shownUnit(unit: BenchUnit): { name: string; factor: number } {
  if (unit === "share") return { name: "%", factor: 100 };
  if (unit === "bytes") return { name: "MB", factor: 1e-6 };
  return { name: unit, factor: 1 };
}

/** The median; the spread, where it is wanted and there is one. */
export function textOf({ unit, median, min, max }: BenchValue, withSpread: boolean): string {
  const { factor } = shownUnit(unit);
  const text = (value: number) => short(value * factor);
  return min === max || !withSpread ? text(median) : `${text(median)} [${text(min)} .. ${text(max)}]`;
}

/** Four digits, without an exponent. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toFixed(Math.min(digits, 6));
}
