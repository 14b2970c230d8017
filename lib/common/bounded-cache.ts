/** The limits of caches that share a bound. */
export interface CacheLimits {
  /** The maximum number of entries. Default: unlimited. */
  entries?: number;
  /** The maximum size of all entries, in the unit of the caches. */
  size: number;
}

/**
 * A bound for several caches. When they exceed it together, the largest cache evicts its least recently used entry. So
 * a cache of at most 1/k of the bound, where k caches are not empty, loses no entry to the others.
 */
export class SharedBound {
  readonly entries: number;
  readonly size: number;
  /** The caches that are not empty. The cache with the latest addition comes last. */
  readonly #holders = new Set<Holder>();
  #held = { entries: 0, size: 0 };

  constructor({ entries = Number.POSITIVE_INFINITY, size }: CacheLimits) {
    this.entries = entries;
    this.size = size;
  }

  /** The total of all caches. */
  get held(): { readonly entries: number; readonly size: number } {
    return this.#held;
  }

  /** Counts a new entry of `holder`. */
  add(holder: Holder, size: number): void {
    this.#held = { entries: this.#held.entries + 1, size: this.#held.size + size };
    this.#holders.delete(holder);
    this.#holders.add(holder);
    this.#settle("entries");
    this.#settle("size");
  }

  /** Counts what an entry of `holder` has grown by. */
  grow(holder: Holder, size: number): void {
    this.#held = { entries: this.#held.entries, size: this.#held.size + size };
    this.#holders.delete(holder);
    this.#holders.add(holder);
    this.#settle("size");
  }

  /** Removes an entry of `holder` from the count. */
  remove(holder: Holder, size: number): void {
    this.#held = { entries: this.#held.entries - 1, size: this.#held.size - size };
    if (holder.entries === 0) this.#holders.delete(holder);
  }

  #settle(what: "entries" | "size"): void {
    while (this.#held[what] > this[what]) {
      const [most, second] = this.#largest(what);
      // Evicts down to the size of the second largest, so that the holders are not searched again for each entry.
      do most.forgetOldest();
      while (this.#held[what] > this[what] && most[what] > second);
    }
  }

  /**
   * Returns the largest holder and the size of the second largest. Of equals, the one with the latest addition comes
   * second.
   */
  #largest(what: "entries" | "size"): [Holder, number] {
    let most: Holder | undefined;
    let second = 0;
    for (const holder of this.#holders) {
      if (most === undefined || holder[what] > most[what]) {
        second = most?.[what] ?? 0;
        most = holder;
      } else {
        second = Math.max(second, holder[what]);
      }
    }
    return [most!, second];
  }
}

interface Holder {
  readonly entries: number;
  readonly size: number;
  forgetOldest(): void;
}

/**
 * Values by key, within a bound that may be shared with other caches. The least recently used entry is evicted first.
 */
export class BoundedCache<V> implements Holder {
  readonly #bound: SharedBound;
  readonly #onChange: ((value: V, change: 1 | -1) => void) | undefined;
  /** Entries in the order of use. */
  readonly #entries = new Map<string, { value: V; size: number }>();
  #size = 0;
  #isClosed = false;

  /** @param onChange called with each value that is added (1), and that is removed for any reason (-1) */
  constructor(bound: SharedBound, onChange?: (value: V, change: 1 | -1) => void) {
    this.#bound = bound;
    this.#onChange = onChange;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** The size of all entries together. */
  get size(): number {
    return this.#size;
  }

  /** The least recently used entry. */
  get oldest(): { key: string; value: V } | undefined {
    for (const [key, { value }] of this.#entries) return { key, value };
    return undefined;
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** @returns false when there is no room for it */
  set(key: string, value: V, size: number): boolean {
    this.delete(key);
    if (this.#isClosed || size > this.#bound.size) return false;
    this.#entries.set(key, { value, size });
    this.#size += size;
    this.#onChange?.(value, 1);
    this.#bound.add(this, size);
    return this.#entries.has(key);
  }

  /**
   * Counts what an entry has grown by. It becomes the most recently used one.
   *
   * @returns false when there is no room for it, and it was evicted
   */
  grow(key: string, size: number): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#entries.delete(key);
    this.#entries.set(key, { value: entry.value, size: entry.size + size });
    this.#size += size;
    this.#bound.grow(this, size);
    return this.#entries.has(key);
  }

  delete(key: string): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#entries.delete(key);
    this.#size -= entry.size;
    this.#bound.remove(this, entry.size);
    this.#onChange?.(entry.value, -1);
    return true;
  }

  forgetOldest(): void {
    const { oldest } = this;
    if (oldest !== undefined) this.delete(oldest.key);
  }

  /** Clears the cache. It stores nothing from now on. */
  close(): void {
    this.#isClosed = true;
    while (this.entries > 0) this.forgetOldest();
  }
}
