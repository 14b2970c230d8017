import { throwIfAborted } from "../../common/abort.js";
import type { Subject } from "../../kernels/bench.js";
import type { Kernels } from "../../kernels/index.js";
import type { ModelConfig } from "../../native/checkpoint.js";
import type { NewRow } from "../rows.js";
import { confidenceOfRounds, measured, ratioOfPairs, ratioOfRounds, single, verdictOf } from "../statistics.js";
import { type KernelCase, kernelCases, type Sweep } from "./cases.js";
import { checkOperations, type Progress, textOf } from "./run.js";

/**
 * Compares two builds in one process. Both have the same operands. Their samples alternate, so that what slows the
 * machine slows both. Where operands lie in memory makes a lasting difference, of several percent for a small operation.
 * So a comparison has rounds, each with operands of its own, prepared twice: once for one build first, once for the
 * other. The two then change places.
 */

export interface KernelsComparison extends Sweep {
  shape: string;
  model: ModelConfig;
  /** The build that is judged, and the one that it is compared with. */
  ours: Kernels;
  other: Kernels;
  only: readonly string[];
  coldBytes: number;
  /** The time of all samples of a case together. */
  seconds: number;
  /** Smaller changes than this part do not count. */
  least: number;
  signal?: AbortSignal | undefined;
}

const rounds = 12;
/** Of a preparation: two blocks of `ratioOfPairs` at least. */
const leastPairs = 20;
const mostPairs = 500;

export async function* compareKernels(bench: KernelsComparison, progress: Progress): AsyncGenerator<NewRow> {
  const [info, otherInfo] = await Promise.all([bench.ours.info(), bench.other.info()]);
  checkOperations(bench.only, info);
  checkOperations(bench.only, otherInfo);
  const cases = kernelCases(bench.model, bench).filter(
    ({ operation }) =>
      info.operations.includes(operation) &&
      otherInfo.operations.includes(operation) &&
      (bench.only.length === 0 || bench.only.includes(operation)),
  );
  for (const [i, one] of cases.entries()) {
    throwIfAborted(bench.signal);
    progress(i, cases.length, textOf(one.operation, one.parameters));
    const { ratio, samples, sameBits } = await compareCase(bench, one);
    yield {
      bench: "kernels",
      name: one.operation,
      parameters: {
        shape: bench.shape,
        backend: info.backend,
        isa: info.isa,
        numerics: info.numerics,
        threads: info.threads,
        coldBytes: bench.coldBytes,
        ...one.parameters,
        comparison: true,
      },
      values: {
        time: measured(samples.ours, "us", "less"),
        otherTime: measured(samples.other, "us", null),
        ratio: single(ratio.ratio, "share", null),
        ratioLow: single(ratio.low, "share", null),
        ratioHigh: single(ratio.high, "share", null),
      },
      about: {
        device: info.device,
        verdict: verdictOf(ratio, "less", bench.least),
        sameBits,
        rounds,
        confidence: confidenceOfRounds(rounds),
      },
    };
  }
}

interface Samples {
  ours: number[];
  other: number[];
}

/** The time of the judged build as a part of the other's, and whether both have the same results, bit for bit. */
async function compareCase(bench: KernelsComparison, one: KernelCase) {
  const ratios: number[] = [];
  const samples: Samples = { ours: [], other: [] };
  let sameBits = true;
  for (let round = 0; round < rounds; round++) {
    const logarithms: number[] = [];
    for (const first of ["ours", "other"] as const) {
      const part = await preparation(bench, one, first, round === 0);
      logarithms.push(Math.log(ratioOfPairs(part.samples.other, part.samples.ours)));
      samples.ours.push(...part.samples.ours);
      samples.other.push(...part.samples.other);
      sameBits &&= part.sameBits;
    }
    ratios.push(Math.exp((logarithms[0]! + logarithms[1]!) / 2));
  }
  return { ratio: ratioOfRounds(ratios), samples, sameBits };
}

/** Prepares the operands of both builds, `first` before the other, and takes samples in turns. */
async function preparation(bench: KernelsComparison, one: KernelCase, first: keyof Samples, check: boolean) {
  throwIfAborted(bench.signal);
  const order = first === "ours" ? (["ours", "other"] as const) : (["other", "ours"] as const);
  const subjects: { -readonly [name in keyof Samples]?: Subject } = {};
  try {
    for (const which of order) subjects[which] = await bench[which].subject(one.operation, one.given, bench.coldBytes);
    const { ours, other } = subjects as { [name in keyof Samples]: Subject };
    if (check) await ours.check();
    else await ours.sample(1);
    await other.sample(1);
    const sameBits = sameOutputs(await ours.outputs(), await other.outputs());
    const seconds = bench.seconds / rounds / 2;
    const calls = Math.max(await ours.callsOfSample(seconds / 8), await other.callsOfSample(seconds / 8));
    const samples: Samples = { ours: [], other: [] };
    for (let total = 0; samples.ours.length < leastPairs || total < seconds * 1e6; ) {
      throwIfAborted(bench.signal);
      // A B, then B A: what the first of a pair leaves in caches counts for both.
      for (const which of samples.ours.length % 2 === 0 ? order : order.toReversed())
        samples[which].push(await (which === "ours" ? ours : other).sample(calls));
      total += (samples.ours.at(-1)! + samples.other.at(-1)!) * calls;
      if (samples.ours.length >= mostPairs) break;
    }
    return { samples, sameBits };
  } finally {
    // The system gives out first what was freed last. In this order the next preparation, whose first is the other build,
    // takes the same memory the other way round.
    for (const subject of Object.values(subjects).reverse()) await subject.dispose();
  }
}

function sameOutputs(a: Record<string, unknown>, b: Record<string, unknown>): boolean {
  return Object.keys(a).every((name) => {
    const [x, y] = [a[name], b[name]] as [NodeJS.TypedArray, NodeJS.TypedArray | undefined];
    return y !== undefined && Buffer.from(x.buffer).equals(Buffer.from(y.buffer));
  });
}
