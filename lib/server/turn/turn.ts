import type { ChatMessage } from "../../chat/messages.js";
import type { DescribedFormat } from "../../chat/response-format.js";
import type { ToolChoice } from "../../chat/turn-constraint.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import type { PromptLogprobs } from "../../generation/prompt-logprobs.js";
import type { SamplingOptions } from "../../generation/sampling.js";
import type { Ticket } from "../limits/limits.js";
import type { Tenant } from "../tenants/tenant.js";
import type { ClientTool } from "./client-tool.js";

/** A function that the model may call, with the fields of both APIs. */
export interface DeclaredFunction {
  name: string;
  description?: string | null;
  /** JSON schema of the arguments; null or absent: any arguments. */
  parameters?: Record<string, unknown> | null;
  /** True: parameters that cannot be compiled are refused. Otherwise they are only described to the model. */
  strict?: boolean | null;
  /** The place of its parameters in the request. */
  at: string;
  /** Words the engine's refusal of the parameters for a client that wrote something else. Absent: as it is. */
  worded?: (message: string) => string;
  /** The tool as the client declared it. Absent: a function of this name. */
  client?: ClientTool;
}

/** The format that a request asks of the answer's text. */
export type AskedFormat = DescribedFormat & {
  /** As in `DeclaredFunction`. */
  strict?: boolean;
  /** The place of the format in the request. */
  at: string;
};

/** One turn of the assistant, for any endpoint. */
export interface TurnRequest {
  /** The owner of the request, and of the data that it leaves behind. */
  tenant: Tenant;
  /** The conversation. `instructions` and leading system messages become the developer message. */
  messages: readonly ChatMessage[];
  /** The beginning of the final message that the answer continues. Absent: it begins anew. */
  continued?: string;
  instructions?: string | null;
  tools: readonly DeclaredFunction[];
  toolChoice: ToolChoice;
  /** Format of the final message: it is enforced, and described to the model. */
  format: AskedFormat | null;
  effort: "low" | "medium" | "high";
  /** Tokens of analysis after which the channel is closed; 0: no analysis; absent: no limit. */
  analysisTokens?: number;
  /** Date in the system message, as YYYY-MM-DD. */
  date: string;
  modelIdentity?: string;
  sampling: SamplingOptions;
  logitBias?: Readonly<Record<number, number>>;
  /** Maximum sampled tokens, reasoning included. Absent: the rest of the context. */
  maxTokens?: number;
  minTokens?: number;
  /** Stop strings. They are matched in the visible text: final message and preamble. */
  stop: readonly string[];
  includeStop?: boolean;
  stopTokens?: readonly number[];
  ignoreEos?: boolean;
  /** Number of likeliest tokens to report for each visible token; null: no logprobs. */
  topLogprobs: number | null;
  /** Number of likeliest tokens to report for each token of the prompt. Absent: no log probabilities of the prompt. */
  promptLogprobs?: number;
  /** Number of independent answers. */
  n: number;
  priority?: number;
  /** The adapter that the model's name asks for. Absent: none. */
  adapter?: string;
  /** The salt of the request itself; the tenant's salt is added to it. */
  cacheSalt?: string;
  signal: AbortSignal;
  /** Called once, at the end, if the model has written characters in headers, where they are no text. */
  onStray?: (characters: number) => void;
  /** The request's share of its client's limits. Absent: there are no limits. */
  ticket?: Ticket;
  /** The request's names for the engine's options, where they differ from those of chat completions. */
  fieldNames?: FieldNames;
  /** The field of the request that holds the conversation. Absent: `messages`. */
  conversationAt?: string;
}

/** A request's names for the engine's options; `prompt` is the field from which the prompt is made. */
export type FieldNames = Readonly<Record<string, string>>;

/** A schema that the engine cannot enforce, and only describes to the model. */
export interface Relaxed {
  /** The place of the schema in the request. */
  param: string;
  message: string;
}

/**
 * The events of an answer while it is written, choice by choice in the order of arrival. Leaving the loop early, or an
 * abort of `signal`, frees the sequences within one step. Never throws because of the model's text; a failing engine
 * rejects with GptOssError.
 */
export interface Turn extends AsyncIterable<TurnEvent> {
  readonly promptTokens: Uint32Array;
  readonly relaxed: readonly Relaxed[];
  /** Present if the request asks for them. */
  readonly promptLogprobs?: PromptLogprobs;
  /** Pauses or resumes the generation, for a client that reads too slowly. */
  hold(held: boolean): void;
}
