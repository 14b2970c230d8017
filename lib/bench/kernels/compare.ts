import { throwIfAborted } from "../../common/abort.js";
import type { Subject } from "../../kernels/bench.js";
import type { Kernels } from "../../kernels/index.js";
import type { ModelConfig } from "../../native/checkpoint.js";
import type { NewRow } from "../rows.js";
import { measured, type Ratio, ratioOfPairs, single, verdictOf } from "../statistics.js";
import { type KernelCase, kernelCases, type Sweep } from "./cases.js";
import { checkOperations, type Progress, textOf } from "./run.js";

/**
 * Compares two builds in one process. Both have the same operands. Their samples alternate, so that what slows the
 * machine slows both.
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

/** Chance of calling two equal builds different, for one case. */
const confidence = 0.999;
const mostPairs = 5000;
const leastPairs = 200;

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
      about: { device: info.device, verdict: verdictOf(ratio, "less", bench.least), sameBits, confidence },
    };
  }
}

/** The time of the judged build as a part of the other's, and whether both have the same results, bit for bit. */
async function compareCase(bench: KernelsComparison, one: KernelCase) {
  const subjects: Subject[] = [];
  try {
    for (const kernels of [bench.ours, bench.other])
      subjects.push(await kernels.subject(one.operation, one.given, bench.coldBytes));
    const [ours, other] = subjects as [Subject, Subject];
    await ours.check();
    await other.sample(1);
    const sameBits = sameOutputs(await ours.outputs(), await other.outputs());
    const calls = Math.max(await ours.callsOfSample(), await other.callsOfSample());
    const samples = { ours: [] as number[], other: [] as number[] };
    for (let total = 0; samples.ours.length < leastPairs || total < bench.seconds * 1e6; ) {
      throwIfAborted(bench.signal);
      // A B, then B A: what the first of a pair leaves in caches counts for both.
      const order = samples.ours.length % 2 === 0 ? (["ours", "other"] as const) : (["other", "ours"] as const);
      for (const which of order) samples[which].push(await (which === "ours" ? ours : other).sample(calls));
      total += (samples.ours.at(-1)! + samples.other.at(-1)!) * calls;
      if (samples.ours.length >= mostPairs) break;
    }
    const ratio: Ratio = ratioOfPairs(samples.other, samples.ours, confidence);
    return { ratio, samples, sameBits };
  } finally {
    for (const subject of subjects) await subject.dispose();
  }
}

function sameOutputs(a: Record<string, unknown>, b: Record<string, unknown>): boolean {
  return Object.keys(a).every((name) => {
    const [x, y] = [a[name], b[name]] as [NodeJS.TypedArray, NodeJS.TypedArray | undefined];
    return y !== undefined && Buffer.from(x.buffer).equals(Buffer.from(y.buffer));
  });
}
