import { BoundedCache, SharedBound } from "../../common/bounded-cache.js";
import type { ConversationItem } from "./conversation.js";
import {
  bytesOf,
  isConversation,
  itemListsOf,
  type Stored,
  type StoredConversation,
  type StoredResponse,
} from "./stored.js";

/**
 * Limits for all tenants together. Over a limit, the tenant that holds most loses what it used least recently, response
 * or conversation.
 */
export interface StoreLimits {
  /** Maximum responses and conversations. Default 10,000; 0 turns the store off. */
  responses?: number;
  /**
   * Maximum bytes of JSON text, plus the memory of log probabilities. Every response counts with its whole
   * conversation, although they share it. Default 256 MiB.
   */
  bytes?: number;
  /** Milliseconds for which each is kept after its last use, or after the end of the work on it. Default one day. */
  idleMs?: number;
}

interface Entry {
  stored: Stored;
  usedAt: number;
}

/** Finished responses, background responses and conversations in memory, for all tenants of a server. */
export class ResponseStores {
  /** False: nothing is stored. */
  readonly isOn: boolean;
  readonly #bound: SharedBound;
  readonly #clock: () => Date;
  readonly #idleMs: number;
  readonly #open = new Set<ResponseStore>();
  #expired = Number.NaN;

  constructor(clock: () => Date, limits: StoreLimits = {}) {
    const { responses = 10_000, bytes = 256 * 2 ** 20, idleMs = 24 * 60 * 60 * 1000 } = limits;
    this.#clock = clock;
    this.#idleMs = idleMs;
    this.#bound = new SharedBound({ entries: responses, size: bytes });
    this.isOn = responses > 0;
  }

  /** Number of stored responses and conversations. */
  get size(): number {
    return this.#bound.held.entries;
  }

  get bytes(): number {
    return this.#bound.held.size;
  }

  /** Opens a store for one more tenant. */
  open(): ResponseStore {
    const store = new ResponseStore(this, this.#bound);
    this.#open.add(store);
    return store;
  }

  closed(store: ResponseStore): void {
    this.#open.delete(store);
  }

  /** Deletes what has expired from all stores, at each use of any of them. Returns the current time. */
  expire(): number {
    const now = this.#clock().getTime();
    if (now === this.#expired) return now; // a request may look for many items
    this.#expired = now;
    for (const store of this.#open) store.forgetUnused(now - this.#idleMs, now);
    return now;
  }
}

/** The stored responses and conversations of one tenant. */
export class ResponseStore {
  readonly #stores: ResponseStores;
  readonly #bound: SharedBound;
  readonly #entries: BoundedCache<Entry>;
  /**
   * Items whose id the server made, and the number of places that contain each. Searching all responses would be slow.
   */
  readonly #issued = new Map<string, { item: ConversationItem; places: number }>();
  /** Conversations that a response in progress continues. */
  readonly #locked = new Set<string>();

  constructor(stores: ResponseStores, bound: SharedBound) {
    this.#stores = stores;
    this.#bound = bound;
    this.#entries = new BoundedCache(bound, ({ stored }, change) => {
      this.#count(stored, change);
      if (change < 0 && !isConversation(stored)) stored.work?.removed();
    });
  }

  get isOn(): boolean {
    return this.#stores.isOn;
  }

  get(id: string): StoredResponse | undefined {
    const stored = this.#use(id);
    return stored === undefined || isConversation(stored) ? undefined : stored;
  }

  /** @returns false when the store has no room for it */
  put(stored: StoredResponse): boolean {
    const usedAt = this.#stores.expire();
    return this.#entries.set(stored.response.id, { stored, usedAt }, bytesOf(stored));
  }

  conversation(id: string): StoredConversation | undefined {
    const stored = this.#use(id);
    return stored !== undefined && isConversation(stored) ? stored : undefined;
  }

  /**
   * Puts a conversation in the place of its former state.
   *
   * @returns false when the store has no room for it; a conversation that is too large for the store stays as it was
   */
  putConversation(stored: StoredConversation): boolean {
    const usedAt = this.#stores.expire();
    const bytes = bytesOf(stored);
    if (bytes > this.#bound.size) return false;
    return this.#entries.set(stored.conversation.id, { stored, usedAt }, bytes);
  }

  /** Locks a conversation for one response. False: it is locked already. */
  lock(id: string): boolean {
    if (this.#locked.has(id)) return false;
    this.#locked.add(id);
    return true;
  }

  unlock(id: string): void {
    this.#locked.delete(id);
  }

  isLocked(id: string): boolean {
    return this.#locked.has(id);
  }

  /**
   * Counts what a running response has grown by, as a use of it.
   *
   * @returns false when the store has no room for it, and lost it
   */
  grow(id: string, bytes: number): boolean {
    return this.#use(id) !== undefined && this.#entries.grow(id, bytes);
  }

  /** Deletes a response or a conversation. */
  delete(id: string): boolean {
    this.#stores.expire();
    return this.#entries.delete(id);
  }

  /** Finds an item of any stored response or conversation by its id, unless the client chose that id. */
  issuedItem(id: string): ConversationItem | undefined {
    this.#stores.expire();
    return this.#issued.get(id)?.item;
  }

  /** Deletes what was last used before `time`. What is in progress counts as used until `now`. */
  forgetUnused(time: number, now: number): void {
    for (
      let { oldest } = this.#entries;
      oldest !== undefined && oldest.value.usedAt < time;
      { oldest } = this.#entries
    ) {
      if (this.#isInProgress(oldest.value.stored)) this.#entries.get(oldest.key)!.usedAt = now;
      else this.#entries.forgetOldest();
    }
  }

  /** Deletes everything, and stores nothing from now on. */
  close(): void {
    this.#entries.close();
    this.#stores.closed(this);
  }

  #use(id: string): Stored | undefined {
    const now = this.#stores.expire();
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    entry.usedAt = now;
    return entry.stored;
  }

  #isInProgress(stored: Stored): boolean {
    return isConversation(stored) ? this.#locked.has(stored.conversation.id) : (stored.work?.isRunning ?? false);
  }

  #count(stored: Stored, change: 1 | -1): void {
    for (const items of itemListsOf(stored)) {
      for (const item of items) {
        if (!item.issued) continue;
        const { id } = item.item;
        const issued = this.#issued.get(id) ?? { item, places: 0 };
        if (issued.places === 0) this.#issued.set(id, issued);
        issued.places += change;
        if (issued.places === 0) this.#issued.delete(id);
      }
    }
  }
}
