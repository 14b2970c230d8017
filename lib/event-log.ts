/** What happened so far and what is still to come: any number of readers, each from the start. */
export class EventLog<T> {
  readonly items: T[] = [];
  #end: { failure?: { reason: unknown } } | undefined;
  #waiting: (() => void)[] = [];

  get ended(): boolean {
    return this.#end !== undefined;
  }

  push(item: T): void {
    this.items.push(item);
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
    try {
      for (let next = 0; ; ) {
        if (next < this.items.length) yield this.items[next++] as T;
        else if (this.#end?.failure) throw this.#end.failure.reason;
        else if (this.#end) return;
        else await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      left();
    }
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
