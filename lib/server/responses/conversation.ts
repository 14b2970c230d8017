import { randomUUID } from "node:crypto";
import type { ChatMessage } from "../../chat/messages.js";

/** One item of a conversation, in the API's form and in the model's. */
export interface ConversationItem {
  readonly item: { readonly type: string; readonly id: string } & Readonly<Record<string, unknown>>;
  /** null: the item has nothing that the model could read. */
  readonly message: ChatMessage | null;
  /** The result of a call, where one item has both. */
  readonly result: ChatMessage | null;
  /** Bytes of the item's JSON text; for log probabilities, their bytes in memory. */
  readonly bytes: number;
  /** The server made the id. It cannot be guessed or chosen, so a client that knows it may refer to the item. */
  readonly issued: boolean;
}

const idPrefixes: Readonly<Record<string, string>> = {
  message: "msg",
  reasoning: "rs",
  function_call: "fc",
  function_call_output: "fco",
  custom_tool_call: "ctc",
  custom_tool_call_output: "ctco",
  conversation: "conv",
};

/** A new id, with the prefix of the item's type; `resp` and `call` are prefixes themselves. */
export function newId(type: string): string {
  return `${idPrefixes[type] ?? type}_${randomUUID().replaceAll("-", "")}`;
}

export function conversationItem(
  item: ConversationItem["item"],
  message: ChatMessage | null,
  { issued = true, more = 0, result = null }: { issued?: boolean; more?: number; result?: ChatMessage | null } = {},
): ConversationItem {
  return { item, message, result, bytes: Buffer.byteLength(JSON.stringify(item)) + more, issued };
}

/** The messages of a conversation, for the model. */
export function messagesOf(items: readonly ConversationItem[]): ChatMessage[] {
  return items.flatMap(({ message, result }) => [message, result].filter((one) => one !== null));
}

/** A reasoning message; null when its text is empty. */
export function thought(text: string): ChatMessage | null {
  return text === "" ? null : { role: "assistant", reasoning: text };
}

/** A message for the user: the answer, or a preamble on the commentary channel. */
export function said(text: string, channel: "commentary" | "final"): ChatMessage {
  return channel === "final" ? { role: "assistant", content: text } : { role: "assistant", channel, content: text };
}

export function called(callId: string, name: string, argumentsText: string): ChatMessage {
  return {
    role: "assistant",
    content: null,
    tool_calls: [{ id: callId, type: "function", function: { name, arguments: argumentsText } }],
  };
}

/** The output of a call. */
export function tooled(callId: string, content: string): ChatMessage {
  return { role: "tool", tool_call_id: callId, content };
}
