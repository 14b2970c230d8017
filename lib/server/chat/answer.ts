import type { ChoiceEnded, TurnEvent, TurnUsage } from "../../chat/turn-event.js";
import { logprobOf } from "../../chat/visible-logprob.js";
import type { SpelledToken } from "../../chat/visible-text.js";

/** The pieces of a message, as OpenAI's API names them. Both forms of a chat completion are built from them. */

export interface ToolCallPiece {
  index: number;
  /** Present with the name, in the first piece of a call only. */
  id?: string;
  type?: "function";
  function: { name?: string; arguments: string };
}

export interface MessagePiece {
  reasoning?: string;
  reasoning_content?: string;
  content?: string;
  tool_calls?: [ToolCallPiece];
  /** The old form of a call. The name is in the first piece only. */
  function_call?: { name?: string; arguments: string };
}

export interface LogprobEntry {
  token: string;
  logprob: number;
  bytes: readonly number[];
  top_logprobs: { token: string; logprob: number; bytes: readonly number[] }[];
}

type End = Omit<ChoiceEnded, "finishReason"> & { finishReason: ChoiceEnded["finishReason"] | "function_call" };
/** `tokens`: the tokens of the piece's text, when log probabilities were requested. */
type Step = { piece: MessagePiece; tokens: readonly SpelledToken[] } | { end: End };

/**
 * Reads the turn of one choice. Visible texts are joined into one content and reasonings into one reasoning, by line
 * ends. The old form of calls has room for one: more are left out.
 */
export class ChatChoice {
  readonly #showsReasoning: boolean;
  readonly #hasOldCalls: boolean;
  #kind: "reasoning" | "text" | "call" = "text";
  #calls = 0;
  #hasContent = false;
  #hasReasoning = false;
  #separator = "";

  constructor(options: { showsReasoning: boolean; hasOldCalls: boolean }) {
    this.#showsReasoning = options.showsReasoning;
    this.#hasOldCalls = options.hasOldCalls;
  }

  /** Returns what the event adds, or null for nothing. */
  accept(event: TurnEvent): Step | null {
    switch (event.type) {
      case "part-start":
        return this.#start(event);
      case "part-delta":
        return this.#delta(event.text, event.tokens);
      case "part-end":
        return null;
      case "choice-end":
        if (this.#hasOldCalls && event.finishReason === "tool_calls") {
          return { end: { ...event, finishReason: "function_call" } };
        }
        return { end: event };
    }
  }

  #start(event: Extract<TurnEvent, { type: "part-start" }>): Step | null {
    this.#kind = event.kind;
    this.#separator = (event.kind === "text" ? this.#hasContent : this.#hasReasoning) ? "\n" : "";
    if (event.kind !== "call") return null;
    const index = this.#calls++;
    const called = { name: event.name, arguments: "" };
    if (this.#hasOldCalls) return index > 0 ? null : { piece: { function_call: called }, tokens: [] };
    const call: ToolCallPiece = { index, id: event.callId, type: "function", function: called };
    return { piece: { tool_calls: [call] }, tokens: [] };
  }

  #delta(delta: string, tokens: readonly SpelledToken[]): Step | null {
    if (this.#kind === "call" && this.#hasOldCalls) {
      return this.#calls > 1 ? null : { piece: { function_call: { arguments: delta } }, tokens: [] };
    }
    if (this.#kind === "call") {
      return { piece: { tool_calls: [{ index: this.#calls - 1, function: { arguments: delta } }] }, tokens: [] };
    }
    const text = this.#separator + delta;
    this.#separator = "";
    if (this.#kind === "text") {
      this.#hasContent = true;
      return { piece: { content: text }, tokens };
    }
    this.#hasReasoning = true;
    // Clients read one name or the other.
    return this.#showsReasoning ? { piece: { reasoning: text, reasoning_content: text }, tokens: [] } : null;
  }
}

export function logprobEntry(token: SpelledToken): LogprobEntry {
  const { text, logprob, bytes, top } = logprobOf(token);
  return {
    token: text,
    logprob,
    bytes,
    top_logprobs: top.map((likely) => ({ token: likely.text, logprob: likely.logprob, bytes: likely.bytes })),
  };
}

export interface ChatUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number; cache_write_tokens: number };
  completion_tokens_details: { reasoning_tokens: number };
}

/** The prompt counts once for all choices. The first choice says how much of it was in the cache. */
export function usageOf(choices: readonly TurnUsage[]): ChatUsage {
  const sum = (key: "completionTokens" | "reasoningTokens") => choices.reduce((total, usage) => total + usage[key], 0);
  const prompt = choices[0]?.promptTokens ?? 0;
  const completion = sum("completionTokens");
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: {
      cached_tokens: choices[0]?.cachedTokens ?? 0,
      cache_write_tokens: choices[0]?.cacheWriteTokens ?? 0,
    },
    completion_tokens_details: { reasoning_tokens: sum("reasoningTokens") },
  };
}
