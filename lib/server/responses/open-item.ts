import { LazyList, SpelledTokens } from "../../chat/spelled-tokens.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import { logprobOf } from "../../chat/visible-logprob.js";
import type { SpelledToken } from "../../chat/visible-text.js";
import { isObject } from "../bodies/fields.js";
import { type ClientTool, calledTool, type OfferedTool } from "../turn/client-tool.js";
import { CustomInput } from "../turn/custom-input.js";
import { type ConversationItem, called, newId, said, thought } from "./conversation.js";
import type {
  CustomToolCallItem,
  FunctionCallItem,
  ItemStatus,
  MessageItem,
  OutputItem,
  OutputLogprob,
  OutputText,
} from "./objects.js";
import { type ReasoningForms, reasoningItem } from "./reasoning-item.js";

export type PartStart = Extract<TurnEvent, { type: "part-start" }>;

/** The item in progress. */
export interface OpenItem {
  start: PartStart;
  id: string;
  outputIndex: number;
  /** As the model wrote it: for a call, its arguments. */
  text: string;
  /** The called tool. Null for other items. */
  tool: ClientTool | null;
  /** The input of a call of a custom tool. Null for other items. */
  input: CustomInput | null;
  /** The tokens of the item's text, when log probabilities were requested. */
  tokens: SpelledTokens;
  /** Whether an event has announced the item to the client. */
  announced: boolean;
}

/**
 * An item that begins with this part.
 *
 * @param topLogprobs number of likeliest tokens to keep beside each token of its text
 */
export function newItem(
  start: PartStart,
  outputIndex: number,
  tools: readonly OfferedTool[],
  topLogprobs: number,
): OpenItem {
  const tool = start.kind === "call" ? calledTool(tools, start.name) : null;
  const callType = tool?.type === "custom" ? "custom_tool_call" : "function_call";
  return {
    start,
    id: newId(start.kind === "text" ? "message" : start.kind === "call" ? callType : "reasoning"),
    outputIndex,
    text: "",
    tool,
    input: tool?.type === "custom" ? new CustomInput() : null,
    tokens: new SpelledTokens(topLogprobs),
    announced: false,
  };
}

/** The item's current state, in new objects. */
export function itemOf(open: OpenItem, status: ItemStatus, reasoning: ReasoningForms): OutputItem {
  const { start, id } = open;
  switch (start.kind) {
    case "reasoning":
      return reasoningItem(open, status, reasoning);
    case "text":
      return {
        type: "message",
        id,
        role: "assistant",
        phase: start.channel === "final" ? "final_answer" : "commentary",
        status,
        content: [outputText(open)],
      } satisfies MessageItem;
    case "call":
      return callOf(open, start.callId, status);
  }
}

function callOf({ id, text, tool, input }: OpenItem, callId: string, status: ItemStatus): OutputItem {
  const { name, namespace } = tool!;
  const called = { id, call_id: callId, ...(namespace !== null && { namespace }), name };
  return input === null
    ? ({ type: "function_call", ...called, arguments: text, status } satisfies FunctionCallItem)
    : ({ type: "custom_tool_call", ...called, input: input.text, status } satisfies CustomToolCallItem);
}

export function outputText(open: OpenItem): OutputText {
  return { type: "output_text", text: open.text, annotations: [], logprobs: outputLogprobs(open) };
}

/** The log probabilities of an item that is complete or has just begun. */
export function outputLogprobs({ tokens }: OpenItem): Iterable<OutputLogprob> {
  return tokens.length === 0 ? [] : new LazyList(tokens, outputLogprob);
}

/**
 * The item as the model reads it in the next turn. A call that was cut off counts if it was closed in time, so that a
 * client can answer it.
 */
export function messageOf({ start, text }: OpenItem, complete: boolean): ConversationItem["message"] {
  switch (start.kind) {
    case "reasoning":
      return thought(text);
    case "text":
      return said(text, start.channel);
    case "call":
      return complete || isObjectText(text) ? called(start.callId, start.name, text) : null;
  }
}

function isObjectText(text: string): boolean {
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}

export function outputLogprob(token: SpelledToken): OutputLogprob {
  const { text, bytes, logprob, top } = logprobOf(token);
  return {
    token: text,
    bytes,
    logprob,
    top_logprobs: top.map((likely) => ({ token: likely.text, bytes: likely.bytes, logprob: likely.logprob })),
  };
}
