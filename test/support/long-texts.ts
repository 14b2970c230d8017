import { vi } from "vitest";
import { addon } from "../../lib/binding.js";

/** Texts of some megabytes, and what is done with them on the JavaScript thread: counted, not timed. */

/** More than any context of a test holds. */
export const megabytes = 8e6;

/** Words of five letters, about a token each. */
export function words(units: number): string {
  return "house light green ".repeat(Math.ceil(units / 18)).slice(0, units);
}

/** UTF-16 units that are encoded on this thread from now on, all together, and those of the longest text. */
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

/** The next text for another thread waits there until it is released, or cancelled. */
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

/** How often the event loop turns until this is done. */
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
