import { checkSignal, throwIfAborted } from "../common/abort.js";
import { readOptions } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import type { NativeLab, NativeWork } from "../native/lab.js";
import { withOperands } from "./operands.js";
import type { OperationArguments, OperationName } from "./operations.js";
import { requestOf, resultsOf } from "./request.js";
import { settled } from "./settled.js";

/** Options of `Kernels.bench`. */
export interface BenchOptions {
  /**
   * The copies of the weights, or of the cached keys and values, take so many bytes together. Calls take one copy after
   * the other, so that no cache of the processor holds the next one. Default 1 GiB. 0: one copy.
   */
  coldBytes?: number;
  /** The time of all samples together, in seconds. There are 5 to 51 of them. Default 0.15. */
  seconds?: number;
  /**
   * Whether the first result is compared with plain loops in float64. It must then be finite: NaN cannot be compared.
   * Default true.
   */
  check?: boolean;
  /** Stops between two samples. The promise then rejects with its reason. */
  signal?: AbortSignal;
}

/** The median, the least and the greatest of some samples. */
export interface Spread {
  /** Half of the samples are less, half are more. */
  median: number;
  /** The least one. */
  min: number;
  /** The greatest one. */
  max: number;
}

/** The result of `Kernels.bench`. */
export interface Measurement {
  /** The operation. */
  operation: OperationName;
  /** Time of one call on the device. */
  microseconds: Spread;
  /** All samples, in their order: microseconds of one call. */
  samples: number[];
  /** Calls of each sample. */
  calls: number;
  /** Bytes that a call must read at least: weights, keys and values once each, or its input if it has none of them. */
  bytesMoved: number;
  /** Floating-point operations that the result needs; a multiplication and an addition are two. */
  flops: number;
  /** Whether the unit that multiplies bf16 computes it, and not that of float32. */
  onBf16Unit: boolean;
  /** The comparison with plain loops; null: not wanted. */
  check: {
    /** The values that were compared: all, or a sample of a large result. */
    values: number;
    /** The greatest error, as a part of what rounding explains. */
    worstError: number;
  } | null;
}

/** An operation with its operands in place, which can be sampled again and again. */
export class Subject {
  readonly #lab: NativeLab;
  readonly #id: number;
  readonly operation: OperationName;
  readonly work: NativeWork;

  private constructor(lab: NativeLab, id: number, operation: OperationName, work: NativeWork) {
    this.#lab = lab;
    this.#id = id;
    this.operation = operation;
    this.work = work;
  }

  static async prepare<Name extends OperationName>(
    lab: NativeLab,
    operation: Name,
    given: Partial<OperationArguments[Name]>,
    coldBytes: number,
  ): Promise<Subject> {
    const { id, work } = await settled(async () =>
      lab.prepare(requestOf(lab, operation, withOperands(operation, given)), coldBytes),
    );
    return new Subject(lab, id, operation, work);
  }

  /** @throws GptOssError INTERNAL when the result is wrong; INVALID_ARGUMENT when the right one is not finite */
  async check(): Promise<{ values: number; worstError: number }> {
    const { values, worst, where } = await settled(() => this.#lab.compare(this.#id));
    if (worst > 1) throw new GptOssError("INTERNAL", `${this.operation} is wrong: ${where}`);
    return { values, worstError: worst };
  }

  /** Microseconds of one call, the mean of so many. */
  async sample(calls: number): Promise<number> {
    return ((await settled(() => this.#lab.repeat(this.#id, calls))) * 1e6) / calls;
  }

  /**
   * So many calls take half a millisecond at least: the clock and a switch of threads then do not count.
   *
   * After a preparation the first calls can be ten times slower, while threads and memory settle. So two to twelve calls
   * come before, until they took so many seconds.
   */
  async callsOfSample(seconds: number): Promise<number> {
    const first: number[] = [];
    for (let total = 0; first.length < 2 || (first.length < 12 && total < seconds * 1e6); total += first.at(-1)!)
      first.push(await this.sample(1));
    return Math.max(1, Math.min(1000, Math.floor(500 / Math.min(...first))));
  }

  /** The results of the last call. */
  async outputs(): Promise<Record<string, unknown>> {
    return resultsOf(await settled(() => this.#lab.outputs(this.#id)), {});
  }

  async dispose(): Promise<void> {
    await settled(() => this.#lab.dispose(this.#id)).catch(() => {}); // the lab is closed: then it is free
  }
}

export function spread(samples: readonly number[]): Spread {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return {
    median: (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2,
    min: sorted[0]!,
    max: sorted.at(-1)!,
  };
}

const optionNames = new Set(["coldBytes", "seconds", "check", "signal"]);

export async function measure<Name extends OperationName>(
  lab: NativeLab,
  operation: Name,
  given: Partial<OperationArguments[Name]>,
  options: BenchOptions,
): Promise<Measurement> {
  const { coldBytes = 2 ** 30, seconds = 0.15, check = true, signal } = readOptions("bench", options, optionNames);
  checkSignal(signal);
  if (typeof check !== "boolean") throw invalidArgument("check", "a boolean", check);
  if (!Number.isInteger(coldBytes) || coldBytes < 0 || coldBytes > 2 ** 40)
    throw invalidArgument("coldBytes", "an integer in [0, 2^40]", coldBytes);
  if (!(seconds >= 0 && seconds <= 3600)) throw invalidArgument("seconds", "a number in [0, 3600]", seconds);
  throwIfAborted(signal);
  const subject = await Subject.prepare(lab, operation, given, coldBytes);
  try {
    const compared = check ? await subject.check() : null;
    const calls = await subject.callsOfSample(2 * seconds);
    const samples: number[] = [];
    for (let total = 0; samples.length < 5 || (samples.length < 51 && total < seconds * 1e6); ) {
      throwIfAborted(signal);
      samples.push(await subject.sample(calls));
      total += samples.at(-1)! * calls;
    }
    const { bytes, flops, onBf16Unit } = subject.work;
    return {
      operation,
      microseconds: spread(samples),
      samples,
      calls,
      bytesMoved: bytes,
      flops,
      onBf16Unit,
      check: compared,
    };
  } finally {
    await subject.dispose();
  }
}
