import type { BenchRow } from "../rows.js";
import { short } from "../table.js";
import { type Chart, type FreeSeries, sharedColumns } from "./chart.js";
import type { ReportFile } from "./files.js";
import { differingWithin, facets, parametersText, titleOf } from "./parameters.js";

/**
 * The roofline of Williams, Waterman and Patterson (2009): a point for each measured kernel, over the operations that it
 * does for a byte, below the rate that memory and arithmetic allow there.
 */
export function roofline(files: readonly ReportFile[]): Chart | null {
  const kernels = files.map(({ rows }) => rows.filter((row) => row.bench === "kernels" && intensityOf(row) !== null));
  const all = kernels.flat();
  if (all.length === 0) return null;
  const names = [...new Set(all.map(({ name }) => name))];
  const details = differingWithin(kernels).filter((name) => !facets.includes(name));
  const prefix = (file: number) => (files.length > 1 ? `${files[file]!.name} · ` : "");
  const points = names.flatMap((name, color) =>
    kernels.flatMap((rows, file): FreeSeries[] => {
      const own = rows.filter((row) => row.name === name);
      if (own.length === 0) return [];
      const label = prefix(file) + name;
      const pointOf = (row: BenchRow) => ({
        x: intensityOf(row)!,
        y: row.values.compute!.median,
        note: noteOf(row, prefix(file), details),
      });
      return [{ label, color, style: file, shape: "points", points: own.map(pointOf) }];
    }),
  );
  const intensities = all.map((row) => intensityOf(row)!);
  const lines = kernels.flatMap((rows, file) =>
    roofsOf(rows).map((roof) => ({ ...roof, file, ridge: roof.flops / roof.bytes })),
  );
  const least = Math.min(...intensities, ...lines.map(({ ridge }) => ridge)) / 2;
  const most = Math.max(...intensities, ...lines.map(({ ridge }) => ridge)) * 2;
  const roofs = lines.map(({ bytes, flops, name, file, ridge }): FreeSeries => {
    const label = `${prefix(file)}roof of ${name ?? `${short(flops / 1e9)} GFLOP/s`}`;
    const note = `${label}\n${short(bytes / 1e9)} GB/s, ${short(flops / 1e9)} GFLOP/s`;
    const at = (x: number) => ({ x, y: Math.min(x * bytes, flops) / 1e9, note });
    return { label, color: null, style: file, shape: "line", points: [at(least), at(ridge), at(most)] };
  });
  return {
    title: "Roofline",
    measure: null,
    isWide: true,
    x: { title: "operational intensity, flops/byte", log: 10, categories: null },
    y: { title: "GFLOP/s", log: 10, categories: null },
    ...sharedColumns([...points, ...roofs]),
  };
}

/** Operations for each byte that the result needs; null for a row that has no place in a roofline. */
export function intensityOf({ values, about }: BenchRow): number | null {
  const { flops, bytesMoved } = about;
  if (typeof flops !== "number" || typeof bytesMoved !== "number" || !values.compute) return null;
  return flops > 0 && bytesMoved > 0 && values.compute.median > 0 ? flops / bytesMoved : null;
}

interface Roof {
  bytes: number;
  flops: number;
  /** The instruction that reaches it, if a row of the file was bound by it. */
  name: string | null;
}

/** The distinct roofs of a file: arithmetic has one for each unit, such as float32 and bf16. */
export function roofsOf(rows: readonly BenchRow[]): Roof[] {
  const found = new Map<string, Roof>();
  for (const { about } of rows) {
    const { roofBytesPerSecond: bytes, roofFlopsPerSecond: flops, roof } = about;
    if (typeof bytes !== "number" || typeof flops !== "number" || !(bytes > 0) || !(flops > 0)) continue;
    const name = typeof roof === "string" && roof !== "memory" ? roof : null;
    const key = `${bytes} ${flops}`;
    found.set(key, { bytes, flops, name: name ?? found.get(key)?.name ?? null });
  }
  return [...found.values()];
}

function noteOf(row: BenchRow, prefix: string, details: readonly string[]): string {
  const { compute, bandwidth, roofShare } = row.values;
  const rates = [
    `${short(compute!.median)} GFLOP/s`,
    ...(bandwidth ? [`${short(bandwidth.median)} GB/s`] : []),
    ...(roofShare ? [`${short(100 * roofShare.median)} % of the roof`] : []),
  ];
  return [prefix + titleOf(row), parametersText(row.parameters, details), rates.join(", ")]
    .filter((line) => line !== "")
    .join("\n");
}
