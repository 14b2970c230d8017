import { onAbort } from "../../common/abort.js";
import type { StreamEvent } from "./objects.js";

/** Approximate bytes of an event in memory: beside its own text, of each token's log probability, of each likely one. */
const overhead = { event: 512, token: 256, likely: 192 };

/** The events of a response, for readers that come late or come back. The place of an event is its sequence number. */
export class EventHistory {
  readonly #events: StreamEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #bytes = 0;
  #ended = false;

  /** The approximate memory use in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  push(events: readonly StreamEvent[]): void {
    for (const event of events) {
      this.#events.push(event);
      this.#bytes += bytesOf(event);
    }
    this.#wake();
  }

  /** No event follows. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Yields the events with a greater sequence number, and waits for further ones until the end or an abort. */
  async *after(sequence: number, signal: AbortSignal): AsyncGenerator<StreamEvent, void, undefined> {
    for (let next = sequence + 1; ; ) {
      while (next < this.#events.length) yield this.#events[next++]!;
      if (this.#ended || signal.aborted) return;
      await this.#more(signal);
    }
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        ignore();
        resolve();
      };
      const ignore = onAbort(signal, wake);
      this.#waiting.add(wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

function bytesOf({ delta, logprobs }: StreamEvent): number {
  let bytes = overhead.event;
  if (typeof delta === "string") bytes += 2 * delta.length;
  // Other lists of log probabilities are views of the item, which counts them itself.
  if (!Array.isArray(logprobs)) return bytes;
  for (const { top_logprobs: likely } of logprobs as { top_logprobs: unknown[] }[]) {
    bytes += overhead.token + overhead.likely * likely.length;
  }
  return bytes;
}
