/** Items that a reader may be behind before the writer is asked to hold, and how near it must come for him to go on. */
export const holdAt = 1024;
export const goOnAt = 256;

/** Where the items of a log are; an array keeps them all. */
export interface Items<T> {
  /** All that ever came. */
  readonly length: number;
  push(item: T): unknown;
  slice(from: number, to: number): T[];
  /** Nobody reads those before `before` any more. */
  forget?(before: number): void;
}

/** How tokens are read together. */
export interface BatchOptions {
  /** Items of one batch at most. Default 256. */
  most?: number;
  /** False: what all readers have read is let go, for nobody begins to read after this one. Default true. */
  keep?: boolean;
}

/** What happened so far and what is still to come: any number of readers, each from the start. */
export class EventLog<T, I extends Items<T> = T[]> {
  readonly items: I;
  readonly #onHold: (held: boolean) => void;
  readonly #readers = new Set<{ next: number }>();
  #forgotten = 0;
  #held = false;
  #end: { failure?: { reason: unknown } } | undefined;
  #waiting: (() => void)[] = [];

  /** `onHold` hears when the slowest reader falls more than `holdAt` items behind, and when it is back at `goOnAt`. */
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

  /** The same, but what is there already comes together. */
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
