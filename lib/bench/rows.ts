/** The rows that every bench of this package prints: one schema, as JSON lines. `docs/benchmarks.md` documents it. */

/** A unit of a value. Programs that read rows can rely on these names. */
export type BenchUnit =
  | "us"
  | "ms"
  | "s"
  | "tokens/s"
  | "requests/s"
  | "GB/s"
  | "GFLOP/s"
  | "bytes"
  | "share"
  | "tokens"
  | "requests"
  | "count";

/** A measured value: the median of its samples, with the least and the greatest. */
export interface BenchValue {
  unit: BenchUnit;
  /** The direction of progress; null: the value is not compared with a baseline. */
  better: "less" | "more" | null;
  median: number;
  min: number;
  max: number;
  /** The samples in the order in which they were taken. Absent where there is only a total. */
  samples?: number[];
}

/** What identifies a row among those of its bench: shapes, options, the device. */
export type BenchParameters = Record<string, string | number | boolean | null>;

/** One measured row. */
export interface BenchRow {
  /** The version of this schema. */
  schema: 1;
  /** The bench: `gpt-oss bench NAME`, or `"lib"`. */
  bench: "kernels" | "engine" | "serve" | "startup" | "lib";
  /** What was measured, such as `"linear"` or `"decode"`. */
  name: string;
  parameters: BenchParameters;
  /** By their names. The first one is the value that a table and a baseline lead with. */
  values: Record<string, BenchValue>;
  /** Where and when. Two rows that differ only here are compared with each other. */
  about: BenchAbout;
}

export interface BenchAbout {
  /** ISO 8601, UTC. */
  time: string;
  /** Version of this package. */
  version: string;
  /** The commit of a checkout, with a "+" if tracked files differ from it; null in a package. */
  commit: string | null;
  node: string;
  platform: string;
  cpu: string;
  cores: number;
  memoryBytes: number;
  /** Further facts that do not identify a row: the instruction of a roof, a note. */
  [name: string]: string | number | boolean | null;
}

/** A row before `about` is known. */
export type NewRow = Omit<BenchRow, "schema" | "about"> & { about?: Record<string, string | number | boolean | null> };

/** Rows with the same text are the same measurement, of two builds, machines or days. */
export function rowKey({ bench, name, parameters }: BenchRow): string {
  const sorted = Object.keys(parameters)
    .sort()
    .map((key) => [key, parameters[key]]);
  return JSON.stringify([bench, name, sorted]);
}
