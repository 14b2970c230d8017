import { availableParallelism } from "node:os";
import { addon, type NativeTokenizer } from "../binding.js";
import { abortReason, onAbort, throwIfAborted } from "../common/abort.js";
import { fromNative, nativeCall } from "../errors.js";

/** Encodes within a limit of tokens: stops early when a text has more, synchronously or on other threads. */

/** The number of bytes of the longest token, which is 128 blanks. */
export const longestTokenBytes = 128;

/** A lower bound for the tokens of a text with so many UTF-16 units. Each unit is at least one byte of UTF-8. */
export function leastTokens(units: number): number {
  return Math.ceil(units / longestTokenBytes);
}

/** Ids of special tokens that a text may spell out. Undefined: none. */
type Special = Uint32Array | undefined;

/** Returns the tokens of a text. Null when there are more than `most`; a long text is refused without encoding. */
export function encodeWithin(text: string, most: number, special?: Special): Uint32Array | null {
  if (leastTokens(text.length) > most) return null;
  return nativeCall(() => addon().tokenizerEncode(text, special, most));
}

/** The number of UTF-16 units from which threads are worth their 50 µs: a text of this size may take a millisecond. */
export const offThreadUnits = 8192;
/**
 * libuv's pool has four threads by default, and one core is left to the event loop. For jobs of less than 64K units,
 * the waiting would take longer than the work.
 */
const maxJobs = Math.min(4, Math.max(1, availableParallelism() - 1));
const minJobUnits = 65_536;

/**
 * Does the same for several texts, each of at most `most` tokens, on libuv's pool where their total length is large.
 * Rejects with the signal's reason at once, and the threads stop soon after.
 */
export async function encodeAllWithin(
  texts: readonly string[],
  most: number,
  { special, signal }: { special?: Special; signal?: AbortSignal | undefined } = {},
): Promise<(Uint32Array | null)[]> {
  throwIfAborted(signal);
  const units = texts.reduce((sum, text) => sum + text.length, 0);
  if (units < offThreadUnits) return texts.map((text) => encodeWithin(text, most, special));
  if (texts.some((text) => leastTokens(text.length) > most)) {
    return texts.map(() => null); // the caller needs all texts, so encoding the others is useless
  }

  const jobs: ReturnType<NativeTokenizer["tokenizerEncodeAsync"]>[] = [];
  let ignore = () => {};
  try {
    for (const group of grouped(texts, Math.max(minJobUnits, Math.ceil(units / maxJobs)))) {
      jobs.push(addon().tokenizerEncodeAsync(group, special, most));
    }
    const aborted = new Promise<never>((_, reject) => {
      ignore = onAbort(signal, reject);
    });
    const encoded = await Promise.race([Promise.all(jobs.map(({ promise }) => promise)), aborted]);
    return encoded.flat();
  } catch (error) {
    for (const job of jobs) {
      job.cancel();
      job.promise.catch(() => {}); // the job may have no other handler
    }
    throw signal?.aborted ? abortReason(signal) : fromNative(error);
  } finally {
    ignore();
  }
}

/** Does the same for one text. A short text is encoded synchronously. */
export async function encodeLong(
  text: string,
  most: number,
  options: { special?: Special; signal?: AbortSignal | undefined } = {},
): Promise<Uint32Array | null> {
  const [tokens] = await encodeAllWithin([text], most, options);
  return tokens!;
}

/** Groups neighbours. Each group but the last has at least `minUnits` units. */
function grouped(texts: readonly string[], minUnits: number): string[][] {
  const groups: string[][] = [];
  let units = minUnits;
  for (const text of texts) {
    if (units >= minUnits) {
      groups.push([]);
      units = 0;
    }
    groups.at(-1)!.push(text);
    units += text.length;
  }
  return groups;
}
