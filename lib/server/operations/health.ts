import type { Engine } from "../../engine.js";
import type { EngineSource } from "./engine-source.js";

export type Health = { ok: true } | { ok: false; reason: string };

/** Whether the engine does what it is for, as far as its counters tell. */
export class EngineHealth {
  readonly #source: EngineSource;
  readonly #stallMilliseconds: number;
  readonly #now: () => number;
  /** Since when the engine was seen busy without a step between. */
  #busy: { steps: number; since: number } | undefined;

  constructor(source: EngineSource, options: { stallMilliseconds: number; clock: () => Date }) {
    this.#source = source;
    this.#stallMilliseconds = options.stallMilliseconds;
    this.#now = () => options.clock().getTime();
  }

  check(): Health {
    const { engine, failure } = this.#source;
    if (failure) return { ok: false, reason: "the model could not be loaded" };
    if (!engine) return { ok: false, reason: "the model is being loaded" };
    let stats: ReturnType<Engine["stats"]>;
    try {
      stats = engine.stats();
    } catch (error) {
      return { ok: false, reason: `the engine does not answer: ${String(error)}` };
    }
    if (stats.ended) return { ok: false, reason: "the engine has ended" };
    // What waits for a slow reader is no sign of a stall. Those that stand aside are no part of the other two.
    const blocked = (stats.blocked ?? 0) - (stats.aside ?? 0);
    if (stats.running + stats.waiting - blocked <= 0) {
      this.#busy = undefined;
      return { ok: true };
    }
    const now = this.#now();
    if (this.#busy?.steps !== stats.steps) this.#busy = { steps: stats.steps, since: now };
    const still = now - this.#busy.since;
    if (still < this.#stallMilliseconds) return { ok: true };
    return { ok: false, reason: `the engine made no step for ${Math.round(still / 1000)} s` };
  }
}
