import type { Engine } from "../../engine.js";
import type { EngineSource } from "./engine-source.js";

export type Health = { ok: true } | { ok: false; reason: string };

/** Whether the engine makes progress, according to its counters. */
export class EngineHealth {
  readonly #source: EngineSource;
  readonly #stallMilliseconds: number;
  readonly #now: () => number;
  /** The start of the time in which the engine was busy without a step. */
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
    // A sequence that waits for a slow reader does not mean a stall. `running` and `waiting` do not include sequences
    // that stand aside.
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
