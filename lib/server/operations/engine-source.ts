import type { Engine } from "../../engine.js";
import { notReady } from "../http/errors.js";

/** The engine of a server, which may still be loading. */
export class EngineSource {
  #engine: Engine | undefined;
  #failure: { reason: unknown } | undefined;
  /** Resolves when the engine is loaded or has failed to load. */
  readonly settled: Promise<void>;

  constructor(engine: Engine | Promise<Engine>) {
    if (!("then" in engine)) {
      this.#engine = engine;
      this.settled = Promise.resolve();
      return;
    }
    this.settled = engine.then(
      (loaded) => {
        this.#engine = loaded;
      },
      (reason: unknown) => {
        this.#failure = { reason };
      },
    );
  }

  get engine(): Engine | undefined {
    return this.#engine;
  }

  get failure(): { reason: unknown } | undefined {
    return this.#failure;
  }

  /** @throws ApiError 503 while the engine is not loaded. */
  require(): Engine {
    if (this.#engine) return this.#engine;
    throw this.#failure ? notReady("The model could not be loaded", 60) : notReady("The model is being loaded", 5);
  }
}
