import type { ConversationItem } from "./conversation.js";
import type { ResponseObject, StreamEvent } from "./objects.js";

/** What the store keeps: responses and conversations, and their size. */

/** The work on a background response. It goes on as long as the response is stored. */
export interface ResponseWork {
  readonly isRunning: boolean;
  /** Ends the work: the response is cancelled. It does nothing after the end of the work. */
  cancel(): void;
  /** Ends the work on a response that is about to be deleted. */
  discard(): void;
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

/** A conversation as `GET /v1/conversations/{id}` tells it. */
export interface ConversationObject {
  readonly id: string;
  readonly object: "conversation";
  /** Unix seconds. */
  readonly created_at: number;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface StoredConversation {
  readonly conversation: ConversationObject;
  readonly items: readonly ConversationItem[];
  /** Day of its creation, as in `StoredResponse`. */
  readonly date: string;
}

export type Stored = StoredResponse | StoredConversation;

/** Approximate bytes of an item beside its JSON text: its message, the objects, its places in lists. */
const itemOverhead = 512;

export function isConversation(stored: Stored): stored is StoredConversation {
  return "conversation" in stored;
}

/** The lists of items that it keeps. */
export function itemListsOf(stored: Stored): (readonly ConversationItem[])[] {
  return isConversation(stored) ? [stored.items] : [stored.context, stored.output];
}

/** Its bytes in the measure of the store. */
export function bytesOf(stored: Stored): number {
  let bytes = isConversation(stored) ? 0 : (stored.eventBytes ?? 0);
  bytes += Buffer.byteLength(
    JSON.stringify(isConversation(stored) ? stored.conversation : { ...stored.response, output: [] }),
  );
  for (const items of itemListsOf(stored)) for (const item of items) bytes += item.bytes + itemOverhead;
  return bytes;
}
