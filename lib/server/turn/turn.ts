import type { ChatMessage } from "../../chat/messages.js";
import type { DescribedFormat } from "../../chat/response-format.js";
import type { ToolChoice } from "../../chat/turn-constraint.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import type { SamplingOptions } from "../../generation/sampling.js";
import type { Ticket } from "../limits/limits.js";
import type { Tenant } from "../tenants/tenant.js";

/** A function that the model may call, as both APIs declare it. */
export interface DeclaredFunction {
  name: string;
  description?: string | null;
  /** JSON schema of the arguments; null or absent: any. */
  parameters?: Record<string, unknown> | null;
  /** Parameters that cannot be compiled are refused; else they are only described to the model. */
  strict?: boolean | null;
  /** Where in the request its parameters stand. */
  at: string;
}

/** What the text of an answer must be, as a request asks for it. */
export type AskedFormat = DescribedFormat & {
  /** As that of a function. */
  strict?: boolean;
  /** Where in the request it stands. */
  at: string;
};

/** One turn of the assistant, whichever endpoint asked for it. */
export interface TurnRequest {
  /** Whom it comes from: what it leaves behind is theirs. */
  tenant: Tenant;
  /** The conversation; `instructions` and leading system messages become the developer message. */
  messages: readonly ChatMessage[];
  instructions?: string | null;
  tools: readonly DeclaredFunction[];
  toolChoice: ToolChoice;
  /** Format of the final message: enforced, and described to the model. */
  format: AskedFormat | null;
  effort: "low" | "medium" | "high";
  /** Tokens of analysis after which the channel is closed; 0: no analysis at all; absent: as the model likes. */
  analysisTokens?: number;
  /** YYYY-MM-DD of the system message. */
  date: string;
  modelIdentity?: string;
  sampling: SamplingOptions;
  logitBias?: Readonly<Record<number, number>>;
  /** Sampled tokens, reasoning included. Absent: what the context still holds. */
  maxTokens?: number;
  minTokens?: number;
  /** Looked for in what the user sees: final message and preamble. */
  stop: readonly string[];
  includeStop?: boolean;
  stopTokens?: readonly number[];
  ignoreEos?: boolean;
  /** Likeliest tokens to tell of each visible token; null: no logprobs. */
  topLogprobs: number | null;
  /** Independent answers. */
  n: number;
  priority?: number;
  /** The request's own; the tenant's is mixed into it. */
  cacheSalt?: string;
  signal: AbortSignal;
  /** What it holds of its client's limits. Absent: there are none. */
  ticket?: Ticket;
  /** What the request calls the engine's options, where it does so by other names than chat completions do. */
  fieldNames?: FieldNames;
  /** Where in the request the conversation stands; absent: its messages are `messages`. */
  conversationAt?: string;
}

/** A request's names for the engine's options; `prompt` is what the prompt is made from. */
export type FieldNames = Readonly<Record<string, string>>;

/** A schema that the engine cannot hold the model to, which is described to it all the same. */
export interface Relaxed {
  /** Where in the request the schema stands. */
  param: string;
  message: string;
}

/**
 * The answer as it is written, choice by choice as they come. Leaving the loop early, or an abort of `signal`, frees the
 * sequences within one step. Never throws because of what the model writes; a failing engine rejects with GptOssError.
 */
export interface Turn extends AsyncIterable<TurnEvent> {
  readonly promptTokens: Uint32Array;
  readonly relaxed: readonly Relaxed[];
  /** Stops and restarts the work on it, for a reader that is behind. */
  hold(held: boolean): void;
}
