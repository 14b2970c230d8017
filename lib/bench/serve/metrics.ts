import type { BenchUnit, BenchValue } from "../rows.js";
import { mean, measured, percentile, single } from "../statistics.js";
import type { CompletedRequest } from "./answer.js";

/** What came of one level of load. */
export interface LevelResult {
  completed: readonly CompletedRequest[];
  /** The reason of each failed request, in the order in which they failed. */
  failures: readonly string[];
  /** From the first request until the end of the last one. */
  milliseconds: number;
  /** The share of this time in which the thread of the load generator was busy. */
  clientBusy: number;
}

/** Bounds in milliseconds; a request is good if it meets all of them. */
export type ServiceLevel = Partial<Record<"ttft" | "tpot" | "e2e", number>>;

/** The times of one request in milliseconds. */
export interface Latencies {
  /** Until the first piece of text. */
  ttft: number;
  /** Per output token after the first one; null for an answer of one token. */
  tpot: number | null;
  /** Until the end of the answer. */
  e2e: number;
  /** Between two pieces of text. */
  itl: number[];
}

export function latenciesOf({ start, pieces, end, outputTokens }: CompletedRequest): Latencies {
  const ttft = pieces[0]! - start;
  const e2e = end - start;
  return {
    ttft,
    tpot: outputTokens > 1 ? (e2e - ttft) / (outputTokens - 1) : null,
    e2e,
    itl: pieces.slice(1).map((at, i) => at - pieces[i]!),
  };
}

function isGood({ ttft, tpot, e2e }: Latencies, bounds: ServiceLevel): boolean {
  const isWithin = (value: number, bound: number | undefined) => bound === undefined || value <= bound;
  return isWithin(ttft, bounds.ttft) && isWithin(tpot ?? 0, bounds.tpot) && isWithin(e2e, bounds.e2e);
}

/** The values of a row. Latencies of a level without a completed request are absent. */
export function serveValues(result: LevelResult, bounds: ServiceLevel | null): Record<string, BenchValue> {
  const { completed, failures, milliseconds, clientBusy } = result;
  const latencies = completed.map(latenciesOf);
  const [ttft, e2e] = [latencies.map((one) => one.ttft), latencies.map((one) => one.e2e)];
  const [tpot, itl] = [latencies.flatMap((one) => one.tpot ?? []), latencies.flatMap((one) => one.itl)];
  const sum = (of: (request: CompletedRequest) => number) => completed.reduce((all, one) => all + of(one), 0);
  const [inputTokens, outputTokens] = [sum((one) => one.inputTokens), sum((one) => one.outputTokens)];
  const rate = (amount: number, unit: BenchUnit) => single((1000 * amount) / milliseconds, unit, "more");
  const good = bounds && latencies.filter((one) => isGood(one, bounds)).length;
  return {
    // First a value with samples: a comparison of two runs needs them.
    ...distribution("e2e", e2e),
    outputThroughput: rate(outputTokens, "tokens/s"),
    totalThroughput: rate(inputTokens + outputTokens, "tokens/s"),
    requestThroughput: rate(completed.length, "requests/s"),
    ...(good !== null && { goodput: rate(good, "requests/s") }),
    ...distribution("ttft", ttft),
    ...distribution("tpot", tpot),
    ...withoutSamples(distribution("itl", itl)),
    completed: exactly(completed.length, "requests"),
    failed: exactly(failures.length, "requests"),
    inputTokens: exactly(inputTokens, "tokens"),
    outputTokens: exactly(outputTokens, "tokens"),
    duration: single(milliseconds / 1000, "s", null),
    clientBusy: single(clientBusy, "share", null),
  };
}

/** A latency under its name, with its mean and its 99th percentile under names of their own. */
function distribution(name: string, samples: readonly number[]): Record<string, BenchValue> {
  if (samples.length === 0) return {};
  return {
    [name]: measured(samples, "ms", "less"),
    [`${name}Mean`]: single(mean(samples), "ms", "less"),
    [`${name}P99`]: single(percentile(samples, 99), "ms", "less"),
  };
}

/** There is a gap for almost every token, which would make rows of megabytes. */
function withoutSamples(values: Record<string, BenchValue>): Record<string, BenchValue> {
  return Object.fromEntries(Object.entries(values).map(([name, { samples: _, ...value }]) => [name, value]));
}

/** A count, with all of its digits. */
function exactly(count: number, unit: BenchUnit): BenchValue {
  return { unit, better: null, median: count, min: count, max: count };
}
