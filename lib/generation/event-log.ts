/** The lag of a reader, in items, at which the writer is asked to hold, and the lag at which it resumes. */
export const holdAt = 1024;
export const goOnAt = 256;

/** The store of a log's items. An array keeps them all. */
export interface Items<T> {
  /** The number of all items so far, forgotten ones included. */
  readonly length: number;
  push(item: T): unknown;
  slice(from: number, to: number): T[];
  /** Called when no reader needs the items before `before` any more. */
  forget?(before: number): void;
}

/** Options for reading tokens in batches. */
export interface BatchOptions {
  /** The maximum number of items of one batch. Default 256. */
  most?: number;
  /** False: items that all readers have read are freed, because no further reader will start. Default true. */
  keep?: boolean;
}

/** The past and coming items of a sequence, for any number of readers. Each reader begins at the start. */
export class EventLog<T, I extends Items<T> = T[]> {
  readonly items: I;
  readonly #onHold: (held: boolean) => void;
  readonly #readers = new Set<{ next: number }>();
  #forgotten = 0;
  #held = false;
  #end: { failure?: { reason: unknown } } | undefined;
  #waiting: (() => void)[] = [];

  /**
   * `onHold` is called when the slowest reader falls more than `holdAt` items behind, and when it is back at `goOnAt`.
   */
  constructor(items: I, onHold: (held: boolean) => void) {
    this.items = items;
    this.#onHold = onHold;
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  push(item: T): void {
    this.items.push(item);
    this.#weigh();
    this.#wake();
  }

  end(): void {
    this.#end ??= {};
    this.#wake();
  }

  fail(reason: unknown): void {
    this.#end ??= { failure: { reason } };
    this.#wake();
  }

  /** Ends with the log or throws its failure. `left` is called when the reader stops, early or not. */
  async *read(left: () => void): AsyncGenerator<T, void, undefined> {
    for await (const items of this.readBatches(left, { most: 1 })) yield items[0] as T;
  }

  /** Does the same, but returns available items together. */
  async *readBatches(
    left: () => void,
    { most = goOnAt, keep = true }: BatchOptions = {},
  ): AsyncGenerator<T[], void, undefined> {
    const reader = { next: this.#forgotten };
    this.#readers.add(reader);
    try {
      for (;;) {
        this.#weigh();
        if (reader.next < this.items.length) {
          const items = this.items.slice(reader.next, reader.next + most);
          reader.next += items.length;
          if (!keep) this.#forget();
          yield items;
        } else if (this.#end?.failure) throw this.#end.failure.reason;
        else if (this.#end) return;
        else await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      this.#readers.delete(reader);
      this.#weigh();
      left();
    }
  }

  #forget(): void {
    this.#forgotten = Math.min(...[...this.#readers].map(({ next }) => next));
    this.items.forget?.(this.#forgotten);
  }

  #weigh(): void {
    if (this.#end) return;
    let behind = 0;
    for (const { next } of this.#readers) behind = Math.max(behind, this.items.length - next);
    const held = behind > (this.#held ? goOnAt : holdAt);
    if (held === this.#held) return;
    this.#held = held;
    this.#onHold(held);
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
