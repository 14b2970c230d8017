import type { TurnEvent } from "../../lib/chat/turn-event.js";
import type { TurnRequest } from "../../lib/server/turn/turn.js";

/** A turn that writes only as far as the test lets it. */
export class SteeredTurn {
  readonly #events: readonly TurnEvent[];
  #allowed = 0;
  #failure: unknown;
  #wake = () => {};
  /** Whether its reader has left it, or has read all of it. */
  isOver = false;

  constructor(events: readonly TurnEvent[]) {
    this.#events = events;
  }

  /** Number of its events. */
  get length(): number {
    return this.#events.length;
  }

  /** The script of a `TurnPlayer`. */
  readonly script = ({ signal }: TurnRequest): AsyncIterable<TurnEvent> => this.#play(signal);

  /** Lets it write so many more events; without a number, all of them. */
  release(count = Number.POSITIVE_INFINITY): void {
    this.#allowed += count;
    this.#wake();
  }

  /** Lets it fail where it is. */
  fail(error: unknown): void {
    this.#failure = error;
    this.#wake();
  }

  async *#play(signal: AbortSignal): AsyncGenerator<TurnEvent, void, undefined> {
    try {
      for (const [index, event] of this.#events.entries()) {
        await this.#turnOf(index, signal);
        yield event;
      }
    } finally {
      this.isOver = true;
    }
  }

  async #turnOf(index: number, signal: AbortSignal): Promise<void> {
    while (index >= this.#allowed) {
      signal.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    signal.throwIfAborted();
  }
}
