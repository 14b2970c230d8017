import { setImmediate } from "node:timers/promises";

/** What one piece of work may take before everybody else has a turn. */
const turnMilliseconds = 5;

/** Lets the event loop turn while something long is done in small steps: `await breather.rest()` between them. */
export class Breather {
  #since = performance.now();

  /** Nothing to wait for while the turn has not been long: what is short keeps its place before what comes after it. */
  rest(): Promise<void> | undefined {
    return performance.now() - this.#since < turnMilliseconds ? undefined : this.#rest();
  }

  async #rest(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }
}
