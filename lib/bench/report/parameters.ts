import type { BenchParameters, BenchRow } from "../rows.js";

/** What the parameters of rows mean for plots and tables: which ones differ, and how a row is told from its neighbours. */

export type ParameterValue = BenchParameters[string];

/** These separate measurements that do not belong into one plot. */
export const facets: readonly string[] = ["matrix", "draw", "window", "comparison"];

/** A load grows along these, so plots go over them. */
export const loads: readonly string[] = ["tokens", "context", "concurrency", "rate"];

/** These say how much was measured, too. The requests of a server only say how often. */
const sizes: readonly string[] = ["inputTokens", "outputTokens", "requests"];
const isSize = (name: string, { bench }: BenchRow) =>
  sizes.includes(name) && !(bench === "serve" && name === "requests");

/** All names, in the order in which they appear. */
export function parameterNames(rows: readonly BenchRow[]): string[] {
  return [...new Set(rows.flatMap(({ parameters }) => Object.keys(parameters)))];
}

/** The names whose values differ between these rows. A row that lacks one differs from those that have it. */
export function differing(rows: readonly BenchRow[]): string[] {
  return parameterNames(rows).filter((name) => new Set(rows.map(({ parameters }) => parameters[name])).size > 1);
}

/** The names whose values differ within one of these files. What differs only between files is said by their names. */
export function differingWithin(files: readonly (readonly BenchRow[])[]): string[] {
  return [...new Set(files.flatMap(differing))];
}

/**
 * The names that tell the files apart: each file has one value, and not all have the same. Rows are matched without
 * them. Loads, sizes and facets never count: two files with other loads measured other things.
 */
export function identifying(files: readonly (readonly BenchRow[])[]): string[] {
  return parameterNames(files.flat()).filter((name) => {
    if (loads.includes(name) || facets.includes(name)) return false;
    if (files.some((rows) => rows.some((row) => isSize(name, row)))) return false;
    const valuesOf = (rows: readonly BenchRow[]) => new Set(rows.map(({ parameters }) => parameters[name]));
    const perFile = files.map(valuesOf);
    return perFile.every(({ size }) => size <= 1) && new Set(perFile.flatMap((values) => [...values])).size > 1;
  });
}

/** `"context 8192, isa avx2"` */
export function parametersText(parameters: BenchParameters, names: readonly string[]): string {
  return names
    .filter((name) => parameters[name] !== undefined)
    .map((name) => `${name} ${parameters[name]}`)
    .join(", ");
}

/** The name of a measurement with its facets: `"linear, router"`, `"attention, window 128"`. */
export function titleOf({ name, parameters }: BenchRow): string {
  const details = facets.filter((facet) => parameters[facet] !== undefined);
  return [
    name,
    ...details.map((facet) => {
      const value = parameters[facet];
      return typeof value === "string" ? value : value === true ? facet : `${facet} ${value}`;
    }),
  ].join(", ");
}
