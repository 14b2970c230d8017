import { randomUUID } from "node:crypto";
import type { ChatMessage } from "../../chat/messages.js";

/** One item of a conversation, as the API tells it and as the model reads it. */
export interface ConversationItem {
  readonly item: { readonly type: string; readonly id: string } & Readonly<Record<string, unknown>>;
  /** null: nothing that the model could read. */
  readonly message: ChatMessage | null;
  /** Of the item's JSON text; of log probabilities, what they take in memory. */
  readonly bytes: number;
  /** The id was made here: nobody can guess it, nor have chosen it, so that who knows it may refer to the item. */
  readonly issued: boolean;
}

const idPrefixes: Readonly<Record<string, string>> = {
  message: "msg",
  reasoning: "rs",
  function_call: "fc",
  function_call_output: "fco",
  custom_tool_call: "ctc",
  custom_tool_call_output: "ctco",
};

/** A new id in the spelling that items of this type have; `resp` and `call` are prefixes themselves. */
export function newId(type: string): string {
  return `${idPrefixes[type] ?? type}_${randomUUID().replaceAll("-", "")}`;
}

export function conversationItem(
  item: ConversationItem["item"],
  message: ChatMessage | null,
  { issued = true, more = 0 }: { issued?: boolean; more?: number } = {},
): ConversationItem {
  return { item, message, bytes: Buffer.byteLength(JSON.stringify(item)) + more, issued };
}

/** A reasoning; null when it says nothing. */
export function thought(text: string): ChatMessage | null {
  return text === "" ? null : { role: "assistant", reasoning: text };
}

/** Text for the user: the answer, or a preamble on the commentary channel. */
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
