import { setImmediate } from "node:timers/promises";

/** The longest time of one piece of work before other work gets a turn. */
const turnMilliseconds = 5;

/** Yields to the event loop between the small steps of long work: `await breather.rest()` between them. */
export class Breather {
  #since = performance.now();

  /** Returns undefined while the turn is short, so that short work finishes before later work starts. */
  rest(): Promise<void> | undefined {
    return performance.now() - this.#since < turnMilliseconds ? undefined : this.#rest();
  }

  async #rest(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }
}
