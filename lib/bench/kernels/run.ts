import { throwIfAborted } from "../../common/abort.js";
import { GptOssError } from "../../errors.js";
import type { Kernels, KernelsInfo, Measurement, Roofs } from "../../kernels/index.js";
import type { ModelConfig } from "../../native/checkpoint.js";
import type { NewRow } from "../rows.js";
import { measured } from "../statistics.js";
import { type KernelCase, kernelCases, type Sweep } from "./cases.js";

/** Measures the operations of a model on one backend, and the roofs of the device beside them. */

export interface KernelsBench extends Sweep {
  /** Name of the shape, for the rows. */
  shape: string;
  model: ModelConfig;
  kernels: Kernels;
  /** The operations to measure; empty: all that the backend has. */
  only: readonly string[];
  denseWeights: string;
  /** The whole sweep is repeated so often, and the samples of a row are joined. */
  rounds: number;
  coldBytes: number;
  seconds: number;
  signal?: AbortSignal | undefined;
}

/** Something that a person can look at meanwhile. */
export type Progress = (done: number, total: number, what: string) => void;

/**
 * Yields the rows of an operation when its last round is over. The roofs are measured again after each operation. An abort
 * or a failure first yields the rows whose own last round is over.
 */
export async function* benchKernels(bench: KernelsBench, progress: Progress): AsyncGenerator<NewRow> {
  const { kernels, signal } = bench;
  const info = await kernels.info();
  checkOperations(bench.only, info);
  const cases = kernelCases(bench.model, bench).filter(
    ({ operation }) =>
      info.operations.includes(operation) && (bench.only.length === 0 || bench.only.includes(operation)),
  );
  const groups = [...new Set(cases.map(({ operation }) => operation))];
  const found = new Map(cases.map((one) => [one, [] as Measurement[]]));
  const roofs = [await kernels.roofs({ coldBytes: bench.coldBytes })];
  let done = 0;
  for (let round = 0; round < bench.rounds; round++) {
    for (const group of groups) {
      const ofGroup = cases.filter(({ operation }) => operation === group);
      const complete: KernelCase[] = [];
      try {
        for (const one of ofGroup) {
          throwIfAborted(signal);
          progress(done++, cases.length * bench.rounds, textOf(one.operation, one.parameters));
          const { coldBytes, seconds } = bench;
          const options = { coldBytes, seconds, check: round === 0, ...(signal && { signal }) };
          found.get(one)!.push(await kernels.bench(one.operation, one.given, options));
          if (round === bench.rounds - 1) complete.push(one);
        }
        roofs.push(await kernels.roofs({ coldBytes: bench.coldBytes }));
      } finally {
        for (const one of complete) yield rowOf(bench, info, one, found.get(one)!, highest(roofs));
      }
    }
  }
}

/** @throws GptOssError INVALID_ARGUMENT for a name that the backend does not have */
export function checkOperations(only: readonly string[], { backend, numerics, operations }: KernelsInfo): void {
  const unknown = only.filter((name) => !(operations as string[]).includes(name));
  if (unknown.length === 0) return;
  const message = `${backend} with numerics ${numerics} has no operation ${unknown.join(", ")}; it has ${operations.join(", ")}`;
  throw new GptOssError("INVALID_ARGUMENT", message, { field: "only" });
}

export function textOf(operation: string, parameters: KernelCase["parameters"]): string {
  const details = Object.entries(parameters).map(([name, value]) => `${name} ${value}`);
  return [operation, ...details].join(", ");
}

/** The highest rates: noise only lowers them. */
function highest(all: readonly Roofs[]): Roofs {
  const best = (rates: Roofs["bf16"][]) =>
    rates.reduce<Roofs["bf16"]>((a, b) => (b && (!a || b.flopsPerSecond > a.flopsPerSecond) ? b : a), null);
  return {
    ...all[0]!,
    bytesPerSecond: Math.max(...all.map(({ bytesPerSecond }) => bytesPerSecond)),
    float32: best(all.map(({ float32 }) => float32))!,
    bf16: best(all.map(({ bf16 }) => bf16)),
  };
}

function rowOf(bench: KernelsBench, info: KernelsInfo, of: KernelCase, found: Measurement[], roofs: Roofs): NewRow {
  const { bytesMoved, flops, onBf16Unit, check } = found[0]!;
  const samples = found.flatMap(({ samples }) => samples);
  const byUnit = onBf16Unit && roofs.bf16 ? roofs.bf16 : roofs.float32;
  const least = {
    memory: (bytesMoved / roofs.bytesPerSecond) * 1e6,
    unit: (flops / byUnit.flopsPerSecond) * 1e6,
  };
  const roof = Math.max(least.memory, least.unit);
  return {
    bench: "kernels",
    name: of.operation,
    parameters: {
      shape: bench.shape,
      backend: info.backend,
      isa: info.isa,
      numerics: info.numerics,
      denseWeights: bench.denseWeights,
      threads: info.threads,
      coldBytes: bench.coldBytes,
      ...of.parameters,
    },
    values: {
      time: measured(samples, "us", "less"),
      bandwidth: measured(
        samples.map((us) => bytesMoved / us / 1e3),
        "GB/s",
        null,
      ),
      ...(flops > 0 && {
        compute: measured(
          samples.map((us) => flops / us / 1e3),
          "GFLOP/s",
          null,
        ),
      }),
      roofShare: measured(
        samples.map((us) => roof / us),
        "share",
        null,
      ),
    },
    about: {
      device: info.device,
      bytesMoved,
      flops,
      roof: least.memory >= least.unit ? "memory" : byUnit.instruction,
      roofBytesPerSecond: roofs.bytesPerSecond,
      roofFlopsPerSecond: byUnit.flopsPerSecond,
      worstError: check?.worstError ?? null,
    },
  };
}
