import type { ConversationItem } from "./conversation.js";
import type { ResponseObject } from "./objects.js";

export interface StoredResponse {
  readonly response: ResponseObject;
  /** All that it was an answer to, the conversation before included: it stays whole when an earlier response goes. */
  readonly context: readonly ConversationItem[];
  readonly output: readonly ConversationItem[];
  /** Day of the conversation's first turn: the system message keeps it, and so the cached prefix outlives midnight. */
  readonly date: string;
}

export interface StoreLimits {
  /** Default 10,000; 0 turns the store off. */
  responses?: number;
  /** Of JSON text, every response counted with its whole conversation, though they share it. Default 256 MiB. */
  bytes?: number;
  /** How long a response is kept after its last use. Default one day. */
  idleMs?: number;
}

interface Entry {
  stored: StoredResponse;
  bytes: number;
  usedAt: number;
}

/** What an item takes beside its JSON text, roughly: its message, the objects, its places in lists. */
const itemOverhead = 512;

/** Finished responses in memory; those not used for longest make room. */
export class ResponseStore {
  readonly #clock: () => Date;
  readonly #limits: Required<StoreLimits>;
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(clock: () => Date, limits: StoreLimits = {}) {
    this.#clock = clock;
    const { responses = 10_000, bytes = 256 * 2 ** 20, idleMs = 24 * 60 * 60 * 1000 } = limits;
    this.#limits = { responses, bytes, idleMs };
  }

  get isOn(): boolean {
    return this.#limits.responses > 0;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(id: string): StoredResponse | undefined {
    this.#expire();
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    this.#entries.delete(id);
    this.#entries.set(id, { ...entry, usedAt: this.#now() });
    return entry.stored;
  }

  /** @returns false when it alone is larger than the store */
  put(stored: StoredResponse): boolean {
    this.#expire();
    const bytes = bytesOf(stored);
    if (!this.isOn || bytes > this.#limits.bytes) return false;
    this.#entries.set(stored.response.id, { stored, bytes, usedAt: this.#now() });
    this.#bytes += bytes;
    for (const id of this.#entries.keys()) {
      if (this.size <= this.#limits.responses && this.bytes <= this.#limits.bytes) break;
      this.delete(id);
    }
    return true;
  }

  delete(id: string): boolean {
    this.#expire();
    return this.#drop(id);
  }

  /** Every item of every response by its id, but for those that a client named itself. Walks the whole store. */
  issuedItems(): Map<string, ConversationItem> {
    this.#expire();
    const all = new Map<string, ConversationItem>();
    for (const { stored } of this.#entries.values()) {
      for (const item of [...stored.context, ...stored.output]) {
        if (item.issued) all.set(item.item.id, item);
      }
    }
    return all;
  }

  #drop(id: string): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    this.#bytes -= entry.bytes;
    return this.#entries.delete(id);
  }

  #expire(): void {
    const oldest = this.#now() - this.#limits.idleMs;
    for (const [id, { usedAt }] of this.#entries) {
      if (usedAt >= oldest) return;
      this.#drop(id);
    }
  }

  #now(): number {
    return this.#clock().getTime();
  }
}

function bytesOf({ response, context, output }: StoredResponse): number {
  let bytes = Buffer.byteLength(JSON.stringify({ ...response, output: [] }));
  for (const item of [...context, ...output]) bytes += item.bytes + itemOverhead;
  return bytes;
}
