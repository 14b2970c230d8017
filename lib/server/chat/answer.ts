import type { ChoiceEnded, TurnEvent, TurnUsage } from "../../chat/turn-event.js";
import { logprobOf } from "../../chat/visible-logprob.js";
import type { SpelledToken } from "../../chat/visible-text.js";
import { calledTool, type OfferedTool } from "../turn/client-tool.js";
import { CustomInput } from "../turn/custom-input.js";

/** The pieces of a message, as OpenAI's API names them. Both forms of a chat completion are built from them. */

/** `id`, `type` and `name` are present in the first piece of a call only. */
export type ToolCallPiece = { index: number; id?: string } & (
  | { type?: "function"; function: { name?: string; arguments: string } }
  | { type?: "custom"; custom: { name?: string; input: string } }
);

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
  readonly #tools: readonly OfferedTool[];
  #kind: "reasoning" | "text" | "call" = "text";
  #calls = 0;
  /** The input of the call in progress, if its tool is a custom one. */
  #input: CustomInput | null = null;
  #hasContent = false;
  #hasReasoning = false;
  #separator = "";

  /** `tools`: the tools that the model may call. `hasOldCalls`: calls have the old form, `function_call`. */
  constructor(options: { showsReasoning: boolean; hasOldCalls: boolean; tools: readonly OfferedTool[] }) {
    this.#showsReasoning = options.showsReasoning;
    this.#hasOldCalls = options.hasOldCalls;
    this.#tools = options.tools;
  }

  /** Returns what the event adds, or null for nothing. */
  accept(event: TurnEvent): Step | null {
    switch (event.type) {
      case "part-start":
        return this.#start(event);
      case "part-delta":
        return this.#delta(event.text, event.tokens);
      case "part-end":
        return this.#kind === "call" ? this.#inputPiece(this.#input?.end(event.complete) ?? "") : null;
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
    if (this.#hasOldCalls) {
      return index > 0 ? null : { piece: { function_call: { name: event.name, arguments: "" } }, tokens: [] };
    }
    const { type, name } = calledTool(this.#tools, event.name);
    this.#input = type === "custom" ? new CustomInput() : null;
    const start = { index, id: event.callId };
    if (type === "custom") return callStep({ ...start, type, custom: { name, input: "" } });
    return callStep({ ...start, type, function: { name, arguments: "" } });
  }

  #inputPiece(input: string): Step | null {
    return input === "" ? null : callStep({ index: this.#calls - 1, custom: { input } });
  }

  #delta(delta: string, tokens: readonly SpelledToken[]): Step | null {
    if (this.#kind === "call" && this.#hasOldCalls) {
      return this.#calls > 1 ? null : { piece: { function_call: { arguments: delta } }, tokens: [] };
    }
    if (this.#kind === "call") {
      if (this.#input !== null) return this.#inputPiece(this.#input.push(delta));
      return callStep({ index: this.#calls - 1, function: { arguments: delta } });
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

function callStep(piece: ToolCallPiece): Step {
  return { piece: { tool_calls: [piece] }, tokens: [] };
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
