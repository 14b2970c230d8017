import { availableParallelism } from "node:os";
import { addon, type NativeTokenizer } from "../binding.js";
import { abortReason, onAbort, throwIfAborted } from "../common/abort.js";
import { fromNative, nativeCall } from "../errors.js";

/** Encoding that ends early where a text has too many tokens, at once or away from this thread. */

/** Bytes of the longest token, which is 128 blanks. */
export const longestTokenBytes = 128;

/** No text of so many UTF-16 units, each of which is a byte of UTF-8 or more, has fewer tokens. */
export function leastTokens(units: number): number {
  return Math.ceil(units / longestTokenBytes);
}

/** Ids of special tokens that a text may spell out; undefined: none. */
type Special = Uint32Array | undefined;

/** The tokens of a text; null when there are more than `most`, which is seen without encoding where its length tells. */
export function encodeWithin(text: string, most: number, special?: Special): Uint32Array | null {
  if (leastTokens(text.length) > most) return null;
  return nativeCall(() => addon().tokenizerEncode(text, special, most));
}

/** UTF-16 units from which threads are worth their 50 µs: the least text that may take a millisecond. */
export const offThreadUnits = 8192;
/**
 * Four is the size of libuv's pool by default, and one core is left to the event loop; a job with less than 64K units
 * would be more waiting than work.
 */
const maxJobs = Math.min(4, Math.max(1, availableParallelism() - 1));
const minJobUnits = 65_536;

/**
 * The same for several texts, each of at most `most` tokens, on libuv's pool where they are long together. Rejects with
 * the signal's reason at once, and the threads stop soon after.
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
    return texts.map(() => null); // who asks for all has nothing from the others
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
      job.promise.catch(() => {}); // nobody may be waiting for it
    }
    throw signal?.aborted ? abortReason(signal) : fromNative(error);
  } finally {
    ignore();
  }
}

/** The same for one text, and without a word in between where it is short. */
export async function encodeLong(
  text: string,
  most: number,
  options: { special?: Special; signal?: AbortSignal | undefined } = {},
): Promise<Uint32Array | null> {
  const [tokens] = await encodeAllWithin([text], most, options);
  return tokens!;
}

/** Neighbours together, each group but the last with so many units at least. */
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
