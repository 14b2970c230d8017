import { vi } from "vitest";
import { addon } from "../../lib/binding.js";

/** Texts of some megabytes, and counters for the work on them on the JavaScript thread. Nothing is timed. */

/** More characters than any context of a test holds. */
export const megabytes = 8e6;

/** Words of five letters, about a token each. */
export function words(units: number): string {
  return "house light green ".repeat(Math.ceil(units / 18)).slice(0, units);
}

/** UTF-16 units that this thread encodes from now on: all together, and of the longest text. */
export function encodedOnThread(): { units: number; longest: number; texts: number } {
  const seen = { units: 0, longest: 0, texts: 0 };
  const encode = addon().tokenizerEncode;
  vi.spyOn(addon(), "tokenizerEncode").mockImplementation((text, ...rest) => {
    seen.units += text.length;
    seen.longest = Math.max(seen.longest, text.length);
    seen.texts++;
    return encode(text, ...rest);
  });
  return seen;
}

/** Stops the next text for another thread until the test releases it, or it is cancelled. */
export function held() {
  const encode = addon().tokenizerEncodeAsync;
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let begin = () => {};
  const state = {
    cancelled: false,
    release,
    begun: new Promise<void>((resolve) => {
      begin = resolve;
    }),
  };
  vi.spyOn(addon(), "tokenizerEncodeAsync").mockImplementationOnce((...given) => {
    begin();
    const promise = released.then(() => encode(...given).promise);
    const cancel = () => {
      state.cancelled = true;
    };
    return { promise, cancel };
  });
  return state;
}

/** Number of turns of the event loop until this work is done. */
export async function turnsDuring(work: PromiseLike<unknown>): Promise<number> {
  let turns = 0;
  let isDone = false;
  const count = () => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  await work;
  isDone = true;
  return turns;
}
