import { BoundedCache, SharedBound } from "../../common/bounded-cache.js";
import type { ConversationItem } from "./conversation.js";
import type { ResponseObject, StreamEvent } from "./objects.js";

/** The work on a background response. It goes on as long as the response is stored. */
export interface ResponseWork {
  readonly isRunning: boolean;
  /** Ends the work: the response is cancelled. It does nothing after the end of the work. */
  cancel(): void;
  /** The events from one on, and further ones as they come. Null: no stream was asked for. */
  follow: ((after: number, signal: AbortSignal) => AsyncIterable<StreamEvent>) | null;
  /** Called when the store loses the response. */
  removed(): void;
}

export interface StoredResponse {
  readonly response: ResponseObject;
  /** All earlier items, including the previous conversation: it stays whole when an earlier response is deleted. */
  readonly context: readonly ConversationItem[];
  readonly output: readonly ConversationItem[];
  /**
   * Day of the conversation's first turn. The system message keeps it, so the cached prefix stays valid after midnight.
   */
  readonly date: string;
  /** Absent: it was not asked for in the background. */
  readonly work?: ResponseWork;
  /** Bytes of its kept events. */
  readonly eventBytes?: number;
}

/**
 * Limits for all tenants together. Over a limit, the tenant that holds most loses its least recently used responses.
 */
export interface StoreLimits {
  /** Maximum responses. Default 10,000; 0 turns the store off. */
  responses?: number;
  /**
   * Maximum bytes of JSON text, plus the memory of log probabilities. Every response counts with its whole
   * conversation, although they share it. Default 256 MiB.
   */
  bytes?: number;
  /** Milliseconds for which a response is kept after its last use, or after its end. Default one day. */
  idleMs?: number;
}

interface Entry {
  stored: StoredResponse;
  usedAt: number;
}

/** Approximate bytes of an item beside its JSON text: its message, the objects, its places in lists. */
const itemOverhead = 512;

/** Finished responses and background responses in memory, for all tenants of a server. */
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

  /** Number of stored responses. */
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

  /** Deletes expired responses from all stores, at each use of any of them. Returns the current time. */
  expire(): number {
    const now = this.#clock().getTime();
    if (now === this.#expired) return now; // a request may look for many items
    this.#expired = now;
    for (const store of this.#open) store.forgetUnused(now - this.#idleMs, now);
    return now;
  }
}

/** The stored responses of one tenant. */
export class ResponseStore {
  readonly #stores: ResponseStores;
  readonly #entries: BoundedCache<Entry>;
  /**
   * Items whose id the server made, and the number of responses that contain each. Searching all responses would be
   * slow.
   */
  readonly #issued = new Map<string, { item: ConversationItem; responses: number }>();

  constructor(stores: ResponseStores, bound: SharedBound) {
    this.#stores = stores;
    this.#entries = new BoundedCache(bound, ({ stored }, change) => {
      this.#count(stored, change);
      if (change < 0) stored.work?.removed();
    });
  }

  get isOn(): boolean {
    return this.#stores.isOn;
  }

  get(id: string): StoredResponse | undefined {
    const now = this.#stores.expire();
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    entry.usedAt = now;
    return entry.stored;
  }

  /** @returns false when the store has no room for it */
  put(stored: StoredResponse): boolean {
    const usedAt = this.#stores.expire();
    return this.#entries.set(stored.response.id, { stored, usedAt }, bytesOf(stored));
  }

  /**
   * Counts what a running response has grown by, as a use of it.
   *
   * @returns false when the store has no room for it, and lost it
   */
  grow(id: string, bytes: number): boolean {
    const now = this.#stores.expire();
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    entry.usedAt = now;
    return this.#entries.grow(id, bytes);
  }

  delete(id: string): boolean {
    this.#stores.expire();
    return this.#entries.delete(id);
  }

  /** Finds an item of any stored response by its id, unless the client chose that id. */
  issuedItem(id: string): ConversationItem | undefined {
    this.#stores.expire();
    return this.#issued.get(id)?.item;
  }

  /** Deletes the responses that were last used before `time`. The work on a response counts as a use until `now`. */
  forgetUnused(time: number, now: number): void {
    for (
      let { oldest } = this.#entries;
      oldest !== undefined && oldest.value.usedAt < time;
      { oldest } = this.#entries
    ) {
      if (!oldest.value.stored.work?.isRunning) this.#entries.forgetOldest();
      else this.#entries.get(oldest.key)!.usedAt = now;
    }
  }

  /** Deletes everything, and stores nothing from now on. */
  close(): void {
    this.#entries.close();
    this.#stores.closed(this);
  }

  #count({ context, output }: StoredResponse, change: 1 | -1): void {
    for (const items of [context, output]) {
      for (const item of items) {
        if (!item.issued) continue;
        const { id } = item.item;
        const issued = this.#issued.get(id) ?? { item, responses: 0 };
        if (issued.responses === 0) this.#issued.set(id, issued);
        issued.responses += change;
        if (issued.responses === 0) this.#issued.delete(id);
      }
    }
  }
}

function bytesOf({ response, context, output, eventBytes = 0 }: StoredResponse): number {
  let bytes = Buffer.byteLength(JSON.stringify({ ...response, output: [] })) + eventBytes;
  for (const item of [...context, ...output]) bytes += item.bytes + itemOverhead;
  return bytes;
}
