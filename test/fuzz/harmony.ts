import { seededRandom } from "../support/random.js";
import { checkStream, Violation } from "./harmony-parsers.js";
import { randomStream } from "./streams.js";

export interface FuzzReport {
  seed: number;
  streams: number;
  tokens: number;
  messages: number;
  /** Runs of the reference's parser, and the number of them that ended in its typed error. */
  readings: number;
  refusals: number;
}

/** A stream that breaks a rule, shortened as far as possible. */
export class FuzzFailure extends Error {
  override readonly name = "FuzzFailure";
  readonly tokens: readonly number[];

  constructor(seed: number, tokens: readonly number[], cause: unknown) {
    super(`${String(cause)}\nseed ${seed}, stream ${JSON.stringify(tokens)}`, { cause });
    this.tokens = tokens;
  }
}

/**
 * Feeds random streams to the parsers until they have seen `tokens` tokens.
 * @throws FuzzFailure on the first stream that breaks a rule
 */
export function fuzz(seed: number, tokens: number, onProgress?: (report: FuzzReport) => void): FuzzReport {
  const random = seededRandom(seed);
  const report: FuzzReport = { seed, streams: 0, tokens: 0, messages: 0, readings: 0, refusals: 0 };
  while (report.tokens < tokens) {
    const stream = randomStream(random);
    try {
      const { messages, readings, refusals } = checkStream(stream);
      report.messages += messages;
      report.readings += readings;
      report.refusals += refusals;
    } catch (error) {
      const shortest = shrink(stream, (shorter) => failureOf(shorter) === kindOf(error));
      throw new FuzzFailure(seed, shortest, error);
    }
    report.streams++;
    report.tokens += stream.length;
    onProgress?.(report);
  }
  return report;
}

/** Shortens a failing stream: removes halves, quarters, … single tokens for as long as it still fails. */
export function shrink(stream: readonly number[], fails: (shorter: readonly number[]) => boolean): readonly number[] {
  let shortest = stream;
  for (let length = Math.ceil(stream.length / 2); length >= 1; ) {
    const before = shortest.length;
    for (let at = 0; at < shortest.length; ) {
      const shorter = [...shortest.slice(0, at), ...shortest.slice(at + length)];
      if (fails(shorter)) shortest = shorter;
      else at += length;
    }
    if (length > 1) length = Math.ceil(length / 2);
    else if (shortest.length === before) break;
  }
  return shortest;
}

function failureOf(stream: readonly number[]): string | null {
  try {
    checkStream(stream);
    return null;
  } catch (error) {
    return kindOf(error);
  }
}

/** The key of a failure: its message with all numbers made equal. */
function kindOf(error: unknown): string {
  if (error instanceof Violation) return error.message.replace(/\d+/g, "0");
  return error instanceof Error ? `${error.name} ${error.message.replace(/\d+/g, "0")}` : String(error);
}
