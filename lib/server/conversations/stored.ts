import { ApiError } from "../http/errors.js";
import { type ConversationItem, newId } from "../responses/conversation.js";
import type { ResponseStore } from "../responses/store.js";
import type { StoredConversation } from "../responses/stored.js";

/** Stored conversations: found, locked, and changed. */

/** @throws ApiError 404 that names `param` */
export function existingConversation(
  store: ResponseStore,
  id: string,
  param: string | null = null,
): StoredConversation {
  const stored = store.conversation(id);
  if (stored !== undefined) return stored;
  throw new ApiError(404, `Conversation with id '${id}' not found.`, { code: "conversation_not_found", param });
}

/** @throws ApiError 409 while a response continues the conversation: clients of OpenAI's API try again then */
export function refuseLocked(store: ResponseStore, id: string, param: string | null = null): void {
  if (store.isLocked(id)) throw locked(param);
}

/** The lock of a conversation for one response: another one could not know what this one adds. */
export class ConversationLock {
  readonly #store: ResponseStore;
  readonly #id: string;
  #isHeld = true;

  /** @throws ApiError 404, 409 */
  constructor(store: ResponseStore, id: string) {
    existingConversation(store, id, "conversation");
    if (!store.lock(id)) throw locked("conversation");
    this.#store = store;
    this.#id = id;
  }

  /** Further calls do nothing. */
  release(): void {
    if (this.#isHeld) this.#store.unlock(this.#id);
    this.#isHeld = false;
  }
}

function locked(param: string | null): ApiError {
  return new ApiError(409, "Another response is written to this conversation. Try again when it has ended.", {
    code: "conversation_locked",
    param,
    retryAfter: 1,
  });
}

/** The bytes that a status adds to an item. */
const statusBytes = 23;

/** Items in the form in which a conversation has them: each with a status, and with an id of its own. */
export function ownItems(
  before: readonly ConversationItem[],
  added: readonly ConversationItem[],
): readonly ConversationItem[] {
  const ids = new Set(before.map(({ item }) => item.id));
  return added.map((one) => {
    const isTaken = ids.has(one.item.id);
    const id = isTaken ? newId(one.item.type) : one.item.id;
    ids.add(id);
    const item = { ...one.item, id, status: one.item.status ?? "completed" };
    return { ...one, item, issued: one.issued || isTaken, bytes: one.bytes + statusBytes };
  });
}

/**
 * Adds items at the end of a conversation.
 *
 * @returns false when the store has no room for them
 */
export function append(store: ResponseStore, stored: StoredConversation, items: readonly ConversationItem[]): boolean {
  return store.putConversation({ ...stored, items: [...stored.items, ...items] });
}

/** The items without outputs of calls that are not there: a client can delete a call alone. */
export function withoutOrphans(items: readonly ConversationItem[]): ConversationItem[] {
  const calls = new Set<string | undefined>();
  return items.filter(({ message }) => {
    if (message === null) return true;
    if ("tool_call_id" in message && message.role === "tool") return calls.has(message.tool_call_id);
    if ("tool_calls" in message) for (const { id } of message.tool_calls ?? []) calls.add(id);
    return true;
  });
}
