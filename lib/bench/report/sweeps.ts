import type { BenchRow } from "../rows.js";
import { differingWithin, facets, loads, parameterNames, parametersText } from "./parameters.js";

/** Rows of one measurement as curves over a parameter that grows. */

export interface Curve {
  /** Index of the file. */
  file: number;
  /** What tells it from other curves of its file; empty for an only one. */
  variant: string;
  /** By ascending x. */
  points: { x: number; row: BenchRow }[];
}

export interface Sweep {
  /** The parameter of the x axis. */
  parameter: string;
  curves: Curve[];
}

/** The sweeps of a measurement. `files` has its rows of each file. */
export function sweepsOf(files: readonly (readonly BenchRow[])[]): Sweep[] {
  const numeric = parameterNames(files.flat()).filter(
    (name) => !facets.includes(name) && files.flat().every(({ parameters }) => typeof parameters[name] === "number"),
  );
  const ordered = [...loads.filter((name) => numeric.includes(name)), ...numeric.filter((one) => !loads.includes(one))];
  const sweeps: Sweep[] = [];
  for (const parameter of ordered) {
    if (sweeps.length > 0 && !loads.includes(parameter) && isFollower(files, sweeps[0]!.parameter, parameter)) continue;
    const curves = curvesOver(files, parameter, numeric);
    const grows = curves.some(({ points }) => new Set(points.map(({ x }) => x)).size > 1);
    if (grows) sweeps.push({ parameter, curves });
  }
  return sweeps;
}

function curvesOver(files: readonly (readonly BenchRow[])[], parameter: string, numeric: readonly string[]): Curve[] {
  const varying = differingWithin(files).filter(
    (name) =>
      name !== parameter &&
      !facets.includes(name) &&
      !(numeric.includes(name) && !loads.includes(name) && isFollower(files, parameter, name)),
  );
  const curves = files.flatMap((rows, file) => {
    const found = new Map<string, Curve>();
    for (const row of rows) {
      const variant = parametersText(row.parameters, varying);
      const curve = found.get(variant) ?? { file, variant, points: [] };
      found.set(variant, curve);
      curve.points.push({ x: row.parameters[parameter] as number, row });
    }
    return [...found.values()];
  });
  for (const { points } of curves) points.sort((a, b) => a.x - b.x);
  return curves;
}

/** Whether a value of `leader` settles that of `name` in each file, as the number of requests follows the concurrency. */
function isFollower(files: readonly (readonly BenchRow[])[], leader: string, name: string): boolean {
  return files.every((rows) => {
    const known = new Map<unknown, unknown>();
    for (const { parameters } of rows) {
      const x = parameters[leader];
      if (known.has(x) && known.get(x) !== parameters[name]) return false;
      known.set(x, parameters[name]);
    }
    return true;
  });
}
