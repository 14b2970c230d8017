import { modelTraits } from "../../generation/model-traits.js";
import type { BodyLimits } from "../bodies/body-check.js";
import {
  type CommonBody,
  commonFields,
  logitBiasOf,
  samplingOf,
  stopOf,
  withoutAbsent,
} from "../bodies/common-fields.js";
import { type AskedEffort, efforts, readEffort } from "../bodies/effort-fields.js";
import { readFormat } from "../bodies/format-fields.js";
import { InputWarnings } from "../bodies/input-warnings.js";
import { LeastTokens } from "../bodies/least-tokens.js";
import { mostTools, readToolChoice, readTools } from "../bodies/tool-fields.js";
import type { ServerContext } from "../context.js";
import { badRequest, unsupported } from "../http/error-response.js";
import type { Warning } from "../http/warnings.js";
import type { Tenant } from "../tenants/tenant.js";
import { promptLogprobsSchema, refuseStreamed } from "../turn/prompt-logprobs.js";
import type { TurnRequest } from "../turn/turn.js";
import { type ContinuedBody, continuedFields, refuseUncontinued, splitContinued } from "./continued.js";
import { messagesField, readMessages } from "./messages-field.js";
import { readFunctionCall, readFunctions } from "./old-functions.js";

/** The body of a chat completion, after the schema has checked it. */
export interface ChatBody extends CommonBody, ContinuedBody {
  messages: Record<string, unknown>[];
  max_completion_tokens?: number;
  max_tokens?: number;
  logprobs?: boolean;
  top_logprobs?: number;
  prompt_logprobs?: number;
  tools?: unknown[];
  tool_choice?: unknown;
  reasoning_effort?: AskedEffort;
  reasoning?: {
    effort?: AskedEffort | null;
    exclude?: boolean | null;
    enabled?: boolean | null;
    max_tokens?: number | null;
  };
  include_reasoning?: boolean;
  chat_template_kwargs?: { reasoning_effort?: AskedEffort | null; model_identity?: string | null };
  modalities?: unknown[];
  audio?: unknown;
  /** The old forms of `tools` and `tool_choice`. */
  functions?: unknown[];
  function_call?: unknown;
}

const conversationFields = {
  ...continuedFields,
  messages: messagesField,
  tools: { type: "array", maxItems: mostTools },
  functions: { type: "array", maxItems: mostTools },
  response_format: commonFields.response_format,
  structured_outputs: commonFields.structured_outputs,
  reasoning_effort: { enum: efforts },
  reasoning: {
    type: "object",
    properties: {
      effort: { enum: [...efforts, null] },
      exclude: { type: ["boolean", "null"] },
      enabled: { type: ["boolean", "null"] },
      max_tokens: { type: ["integer", "null"], minimum: 0 },
    },
  },
  chat_template_kwargs: {
    type: "object",
    properties: { reasoning_effort: { enum: [...efforts, null] }, model_identity: { type: ["string", "null"] } },
  },
};

export const chatSchema = {
  type: "object",
  required: ["model", "messages"],
  properties: {
    ...commonFields,
    ...conversationFields,
    max_completion_tokens: { type: "integer", minimum: 1 },
    max_tokens: { type: "integer", minimum: 1 },
    logprobs: { type: "boolean" },
    top_logprobs: { type: "integer", minimum: 0, maximum: 20 },
    prompt_logprobs: promptLogprobsSchema,
    echo: { type: "boolean" },
    include_reasoning: { type: "boolean" },
    modalities: { type: "array" },
  },
};

/** The schema of the fields from which a conversation is rendered, for every endpoint that has them. */
export const conversationSchema = {
  type: "object",
  required: ["messages"],
  properties: { model: commonFields.model, ...conversationFields },
};

export type Conversation = Pick<
  TurnRequest,
  "messages" | "continued" | "tools" | "toolChoice" | "format" | "effort" | "analysisTokens" | "date" | "modelIdentity"
> & {
  /** What the messages have and the model cannot read. */
  warnings: readonly Warning[];
};

/** @throws ApiError that names the field */
export function chatRequest(
  body: ChatBody,
  context: ServerContext,
  tenant: Tenant,
  signal: AbortSignal,
): TurnRequest & Pick<Conversation, "warnings"> {
  refuseUnsupported(body);
  refuseStreamed(body);
  refuseUncontinued(body);
  if (body.top_logprobs !== undefined && body.top_logprobs > 0 && body.logprobs !== true) {
    throw badRequest("top_logprobs", "top_logprobs needs logprobs to be true");
  }
  const conversation = conversationOf(body, context);
  if (body.ignore_eos === true) refuseEnding(conversation, "ignore_eos");
  if (conversation.continued !== undefined) refuseEnding(conversation, "continue_final_message");
  return {
    tenant,
    ...conversation,
    sampling: samplingOf(body),
    stop: stopOf(body),
    topLogprobs: body.logprobs === true ? (body.top_logprobs ?? 0) : null,
    n: body.n ?? 1,
    signal,
    ...(body.max_completion_tokens !== undefined && { fieldNames: { maxTokens: "max_completion_tokens" } }),
    ...withoutAbsent({
      maxTokens: body.max_completion_tokens ?? body.max_tokens,
      minTokens: body.min_tokens,
      includeStop: body.include_stop_str_in_output,
      stopTokens: body.stop_token_ids,
      ignoreEos: body.ignore_eos,
      logitBias: biasOf(body, context),
      cacheSalt: body.cache_salt,
      promptLogprobs: body.prompt_logprobs,
    }),
  };
}

/**
 * Refuses a chat that no context can hold before its messages are read: each is a message of the prompt.
 *
 * @throws ApiError
 */
export function refuseLongChat({ messages }: Pick<ChatBody, "messages">, { contextLength }: BodyLimits): void {
  const said = new LeastTokens(contextLength);
  for (const { role, content, tool_calls } of messages) {
    if (role === "user" || role === "tool" || (role === "assistant" && typeof content === "string")) said.messages(1);
    if (Array.isArray(tool_calls)) said.messages(tool_calls.length);
    said.content(content);
  }
  if (said.isTooLong) throw said.refusal("messages");
}

/**
 * What must be complete cannot go on until a limit ends it. Nor can it begin in the middle of a message, after which
 * there is no reasoning to limit.
 *
 * @throws ApiError
 */
function refuseEnding(
  { format, toolChoice, analysisTokens }: Conversation,
  field: "ignore_eos" | "continue_final_message",
): void {
  const asked = [
    [format !== null, "a format"],
    [toolChoice.type === "required", "a required call"],
    [field === "ignore_eos" && analysisTokens !== undefined, "a limit of reasoning"],
  ] as const;
  for (const [isAsked, what] of asked) {
    if (isAsked) throw badRequest(field, `${field} is not supported together with ${what}`, unsupported);
  }
}

/** With `ignore_eos`, bans the tokens that end a turn, so that the assistant goes on with its message. */
function biasOf(body: ChatBody, { engine }: ServerContext): Record<number, number> | undefined {
  const { model } = engine.info;
  const bias = logitBiasOf(body, model.vocab);
  if (body.ignore_eos !== true) return bias;
  const wanted = body.stop_token_ids ?? [];
  const banned = modelTraits(model).stopTokens.filter((token) => token < model.vocab && !wanted.includes(token));
  return { ...bias, ...Object.fromEntries(banned.map((token) => [token, Number.NEGATIVE_INFINITY])) };
}

/** Whether the answer includes the model's reasoning. */
export function showsReasoning(body: ChatBody): boolean {
  return body.include_reasoning !== false && body.reasoning?.exclude !== true;
}

/** @throws ApiError that names the field */
export function conversationOf(body: Omit<ChatBody, "model">, context: ServerContext): Conversation {
  const functions = readFunctions(body);
  const tools =
    functions ??
    readTools(body.tools, "nested", (type, at) => {
      const message = `${at}.type is ${JSON.stringify(type)}: only "function" and "custom" are supported`;
      throw badRequest(`${at}.type`, message, unsupported);
    });
  const identity = body.chat_template_kwargs?.model_identity;
  const warnings = new InputWarnings();
  const { messages, continued } = splitContinued(body, readMessages(body.messages, warnings));
  return {
    messages,
    ...(continued !== null && { continued }),
    warnings: warnings.all,
    tools,
    toolChoice: readFunctionCall(body, functions) ?? readToolChoice(body.tool_choice, tools, "nested"),
    format: readFormat(body),
    date: context.clock().toISOString().slice(0, 10),
    ...readReasoning(body),
    ...(identity !== undefined && identity !== null && { modelIdentity: identity }),
  };
}

/** Reads the effort, in every spelling that clients use, and the token limit that some send beside it. */
function readReasoning(body: Omit<ChatBody, "model">): Pick<TurnRequest, "effort" | "analysisTokens"> {
  const { reasoning = {}, chat_template_kwargs: template } = body;
  const asked = body.reasoning_effort ?? reasoning.effort ?? template?.reasoning_effort;
  return readEffort(reasoning.enabled === false ? "none" : asked, reasoning.max_tokens);
}

function refuseUnsupported(body: ChatBody): void {
  if (body.modalities?.some((modality) => modality !== "text")) {
    throw badRequest("modalities", 'This model answers in text only: modalities can be ["text"]', unsupported);
  }
}
