/** What caches may hold together. */
export interface CacheLimits {
  /** Default: any number. */
  entries?: number;
  /** Of all entries, in the unit that the caches count in. */
  size: number;
}

/**
 * A bound for several caches. When they hold too much, the one that holds most forgets what it was asked for longest ago:
 * of k caches that hold something, one that holds no more than the k-th part of the bound loses nothing to the others.
 */
export class SharedBound {
  readonly entries: number;
  readonly size: number;
  /** Those that hold something; who added something last comes last. */
  readonly #holders = new Set<Holder>();
  #held = { entries: 0, size: 0 };

  constructor({ entries = Number.POSITIVE_INFINITY, size }: CacheLimits) {
    this.entries = entries;
    this.size = size;
  }

  /** What all caches hold. */
  get held(): { readonly entries: number; readonly size: number } {
    return this.#held;
  }

  /** `holder` holds so much more. */
  add(holder: Holder, size: number): void {
    this.#held = { entries: this.#held.entries + 1, size: this.#held.size + size };
    this.#holders.delete(holder);
    this.#holders.add(holder);
    this.#settle("entries");
    this.#settle("size");
  }

  /** `holder` holds an entry of this size less. */
  remove(holder: Holder, size: number): void {
    this.#held = { entries: this.#held.entries - 1, size: this.#held.size - size };
    if (holder.entries === 0) this.#holders.delete(holder);
  }

  #settle(what: "entries" | "size"): void {
    while (this.#held[what] > this[what]) {
      const [most, second] = this.#largest(what);
      // As far as the second at once, so that each holder is not looked at again for each entry.
      do most.forgetOldest();
      while (this.#held[what] > this[what] && most[what] > second);
    }
  }

  /** Who holds most, and how much the one after it holds. Of equals, who added something last is spared. */
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

/** Values by key, within a bound that it may share with others; what was not asked for the longest is forgotten first. */
export class BoundedCache<V> implements Holder {
  readonly #bound: SharedBound;
  readonly #onChange: ((value: V, change: 1 | -1) => void) | undefined;
  /** In the order of use. */
  readonly #entries = new Map<string, { value: V; size: number }>();
  #size = 0;
  #isClosed = false;

  /** @param onChange hears of each value that comes (1), and that goes for whatever reason (-1) */
  constructor(bound: SharedBound, onChange?: (value: V, change: 1 | -1) => void) {
    this.#bound = bound;
    this.#onChange = onChange;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** Of all entries together. */
  get size(): number {
    return this.#size;
  }

  /** What was not asked for the longest. */
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

  /** Forgets all, and keeps nothing from now on. */
  close(): void {
    this.#isClosed = true;
    while (this.entries > 0) this.forgetOldest();
  }
}
