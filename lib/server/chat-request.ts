import { messagesField, readMessages } from "./chat-messages-field.js";
import type { ServerContext } from "./context.js";
import { badRequest } from "./error-response.js";
import {
  type CommonBody,
  commonFields,
  guidedFormatOf,
  samplingOf,
  stopOf,
  unsupported,
  withoutAbsent,
} from "./request-fields.js";
import { readToolChoice, readTools } from "./tool-fields.js";
import type { TurnRequest } from "./turn.js";

/** The body of a chat completion, as the schema has let it through. */
export interface ChatBody extends CommonBody {
  messages: Record<string, unknown>[];
  max_completion_tokens?: number;
  max_tokens?: number;
  logprobs?: boolean;
  top_logprobs?: number;
  tools?: unknown[];
  tool_choice?: unknown;
  response_format?: ResponseFormat;
  reasoning_effort?: string;
  reasoning?: {
    effort?: string | null;
    exclude?: boolean | null;
    enabled?: boolean | null;
    max_tokens?: number | null;
  };
  include_reasoning?: boolean;
  chat_template_kwargs?: Record<string, unknown>;
  modalities?: unknown[];
  audio?: unknown;
  functions?: unknown;
  function_call?: unknown;
}

interface ResponseFormat {
  type: "text" | "json_object" | "json_schema";
  json_schema?: { name?: string; description?: string | null; schema?: Record<string, unknown> | boolean };
}

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh"];

const conversationFields = {
  messages: messagesField,
  tools: { type: "array" },
  response_format: {
    type: "object",
    required: ["type"],
    properties: {
      type: { enum: ["text", "json_object", "json_schema"] },
      json_schema: {
        type: "object",
        required: ["schema"],
        properties: {
          name: { type: "string", pattern: "^[^\\r\\n]{1,256}$" },
          description: { type: ["string", "null"] },
          schema: { type: ["object", "boolean"] },
        },
      },
    },
  },
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
  chat_template_kwargs: { type: "object" },
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
    include_reasoning: { type: "boolean" },
    modalities: { type: "array" },
  },
};

/** Of what a conversation is rendered from, wherever it is asked for. */
export const conversationSchema = {
  type: "object",
  required: ["messages"],
  properties: { model: commonFields.model, ...conversationFields },
};

export type Conversation = Pick<
  TurnRequest,
  "messages" | "tools" | "toolChoice" | "format" | "effort" | "analysisTokens" | "date" | "modelIdentity"
>;

/** @throws ApiError that names the field */
export function chatRequest(body: ChatBody, context: ServerContext, signal: AbortSignal): TurnRequest {
  refuseUnsupported(body);
  if (body.top_logprobs !== undefined && body.logprobs !== true) {
    throw badRequest("top_logprobs", "top_logprobs needs logprobs to be true");
  }
  return {
    ...conversationOf(body, context),
    sampling: samplingOf(body),
    stop: stopOf(body),
    topLogprobs: body.logprobs === true ? (body.top_logprobs ?? 0) : null,
    n: body.n ?? 1,
    signal,
    ...withoutAbsent({
      maxTokens: body.max_completion_tokens ?? body.max_tokens,
      minTokens: body.min_tokens,
      includeStop: body.include_stop_str_in_output,
      stopTokens: body.stop_token_ids,
      ignoreEos: body.ignore_eos,
      logitBias: body.logit_bias,
      priority: body.priority,
      cacheSalt: body.cache_salt,
    }),
  };
}

/** Whether the answer tells what the model thought. */
export function showsReasoning(body: ChatBody): boolean {
  return body.include_reasoning !== false && body.reasoning?.exclude !== true;
}

/** @throws ApiError that names the field */
export function conversationOf(body: Omit<ChatBody, "model">, context: ServerContext): Conversation {
  const tools = readTools(body.tools);
  const identity = body.chat_template_kwargs?.model_identity;
  return {
    messages: readMessages(body.messages),
    tools,
    toolChoice: readToolChoice(body.tool_choice, tools),
    format: readFormat(body.response_format) ?? guidedFormatOf(body as ChatBody),
    date: context.clock().toISOString().slice(0, 10),
    ...readEffort(body),
    ...(typeof identity === "string" && { modelIdentity: identity }),
  };
}

/** The model knows three efforts. None at all is the lowest, with the analysis channel closed. */
function readEffort(body: Omit<ChatBody, "model">): Pick<TurnRequest, "effort" | "analysisTokens"> {
  const { reasoning = {}, chat_template_kwargs: template } = body;
  const isOff = reasoning.enabled === false;
  const asked = isOff ? "none" : (body.reasoning_effort ?? reasoning.effort ?? template?.reasoning_effort ?? "medium");
  const limit = reasoning.max_tokens;
  const analysisTokens = asked === "none" ? 0 : limit;
  const budget = analysisTokens !== null && analysisTokens !== undefined ? { analysisTokens } : {};
  if (asked === "none" || asked === "minimal" || asked === "low") return { effort: "low", ...budget };
  return { effort: asked === "high" || asked === "xhigh" ? "high" : "medium", ...budget };
}

function readFormat(format: ResponseFormat | undefined): TurnRequest["format"] {
  if (format === undefined || format.type === "text") return null;
  if (format.type === "json_object") return { type: "json_object" };
  const { schema, name, description } = format.json_schema ?? {};
  if (schema === undefined) {
    throw badRequest("response_format.json_schema.schema", "response_format.json_schema.schema is required");
  }
  return { type: "json_schema", schema, ...(name !== undefined && { name }), ...(description && { description }) };
}

function refuseUnsupported(body: ChatBody): void {
  if (body.modalities?.some((modality) => modality !== "text")) {
    throw badRequest("modalities", 'This model answers in text only: modalities can be ["text"]', unsupported);
  }
  for (const name of ["functions", "function_call"] as const) {
    if (body[name] === undefined) continue;
    const now = name === "functions" ? "tools" : "tool_choice";
    throw badRequest(name, `${name} is not supported any more: use ${now}`, unsupported);
  }
}
