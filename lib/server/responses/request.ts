import type { BodyLimits } from "../bodies/body-check.js";
import { commonFields, metadataField, samplingOf } from "../bodies/common-fields.js";
import { type AskedEffort, efforts, readEffort } from "../bodies/effort-fields.js";
import { isObject } from "../bodies/fields.js";
import { readTextFormat } from "../bodies/format-fields.js";
import { LeastTokens } from "../bodies/least-tokens.js";
import { adapterOf, type ModelNames } from "../bodies/model-name.js";
import { requiredName, unsupported } from "../bodies/refusals.js";
import { mostTools, readToolChoice } from "../bodies/tool-fields.js";
import { badRequest } from "../http/error-response.js";
import type { Warning } from "../http/warnings.js";
import type { TurnRequest } from "../turn/turn.js";
import type { ResponseSettings } from "./objects.js";
import { repeatedChoice, repeatedFormat } from "./repeated.js";
import { type ReadTools, readResponseTools } from "./tools.js";
import { passOutOfReach } from "./truncation.js";

/** The body of a request: its schema, the checks beyond that, and its meaning. */

const summaries = ["auto", "concise", "detailed"] as const;

/** OpenAI's values. Those without an effect here are of tools that this server does not have. */
const includable = [
  "reasoning.encrypted_content",
  "message.output_text.logprobs",
  "message.input_image.image_url",
  "computer_call_output.output.image_url",
  "code_interpreter_call.outputs",
  "file_search_call.results",
  "web_search_call.results",
  "web_search_call.action.sources",
];

const nullable = (type: string, more: object = {}) => ({ type, nullable: true, ...more });
const nullableEnum = (values: readonly string[]) => nullable("string", { enum: [...values, null] });

/**
 * Fields that a schema can refuse precisely. Fields with many shapes (`input`, `tools`, `tool_choice`, the format) are
 * checked by code: for a union, a schema only reports that no branch fits.
 */
export const responseSchema = {
  type: "object",
  required: ["model"],
  properties: {
    model: { type: "string", maxLength: 1024 },
    instructions: nullable("string"),
    max_output_tokens: nullable("integer", { minimum: 1 }),
    max_tool_calls: nullable("integer", { minimum: 1 }),
    temperature: commonFields.temperature,
    top_p: commonFields.top_p,
    presence_penalty: commonFields.presence_penalty,
    frequency_penalty: commonFields.frequency_penalty,
    seed: commonFields.seed,
    top_logprobs: nullable("integer", { minimum: 0, maximum: 20 }),
    tools: nullable("array", { maxItems: mostTools }),
    parallel_tool_calls: nullable("boolean"),
    reasoning: nullable("object", {
      properties: {
        effort: nullableEnum(efforts),
        max_tokens: nullable("integer", { minimum: 0 }),
        summary: nullableEnum(summaries),
        generate_summary: nullableEnum(summaries),
      },
    }),
    text: nullable("object", {
      properties: { format: nullable("object"), verbosity: nullableEnum(["low", "medium", "high"]) },
    }),
    stream: nullable("boolean"),
    stream_options: nullable("object"),
    store: nullable("boolean"),
    previous_response_id: nullable("string"),
    background: nullable("boolean"),
    include: nullable("array", { items: { enum: includable }, maxItems: 64 }),
    metadata: { ...metadataField, nullable: true },
    truncation: nullableEnum(["auto", "disabled"]),
    user: nullable("string"),
    prompt_cache_key: nullable("string"),
    safety_identifier: nullable("string"),
  },
};

/** The schema of a body whose tokens are counted: this server has one model. */
export const inputTokensSchema = { ...responseSchema, required: [] };

/** The body, after the schema has checked it. */
export interface ResponseBody {
  model: string;
  input?: unknown;
  instructions?: string | null;
  max_output_tokens?: number | null;
  max_tool_calls?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  top_logprobs?: number | null;
  seed?: number | null;
  tools?: unknown[] | null;
  tool_choice?: unknown;
  parallel_tool_calls?: boolean | null;
  reasoning?: {
    effort?: AskedEffort | null;
    max_tokens?: number | null;
    summary?: string | null;
    generate_summary?: string | null;
  } | null;
  text?: { format?: Record<string, unknown> | null; verbosity?: string | null } | null;
  stream?: boolean | null;
  store?: boolean | null;
  previous_response_id?: string | null;
  background?: boolean | null;
  conversation?: unknown;
  prompt?: unknown;
  include?: string[] | null;
  metadata?: Record<string, string> | null;
  truncation?: "auto" | "disabled" | null;
  user?: string | null;
  prompt_cache_key?: string | null;
  safety_identifier?: string | null;
}

/** The meaning of a request, except for its input. */
export interface ReadRequest {
  settings: ResponseSettings;
  /** The part of a turn that does not depend on the conversation. */
  turn: Omit<TurnRequest, "tenant" | "messages" | "date" | "signal">;
  /** Warnings for ignored tools. */
  ignoredTools: readonly Warning[];
  /** Whether reasoning items get `encrypted_content`. */
  sealsReasoning: boolean;
  stream: boolean;
}

/**
 * @param canStore whether the server can store responses
 * @throws ApiError that names the field
 */
export function readRequest(body: ResponseBody, names: ModelNames, canStore: boolean): ReadRequest {
  const adapter = adapterOf(names, body.model);
  const model = adapter === undefined ? (names.modelNames[0] ?? body.model) : body.model;
  refuseUnsupported(body);
  const tools = readResponseTools(body.tools);
  const toolChoice = readToolChoice(body.tool_choice, tools.functions, "flat");
  const format = readTextFormat(body.text?.format);
  const settings = settingsOf(body, model, tools);
  return {
    settings: { ...settings, store: canStore && (body.store ?? true) },
    turn: {
      instructions: body.instructions || null,
      tools: tools.functions,
      toolChoice,
      format,
      ...readEffort(body.reasoning?.effort, body.reasoning?.max_tokens),
      sampling: samplingOf({ ...settings, ...(typeof body.seed === "number" && { seed: body.seed }) }),
      ...(typeof body.max_output_tokens === "number" && { maxTokens: body.max_output_tokens }),
      stop: [],
      topLogprobs: readLogprobs(body),
      n: 1,
      ...(adapter !== undefined && { adapter }),
      fieldNames: { maxTokens: "max_output_tokens" },
      conversationAt: "input",
    },
    ignoredTools: tools.ignored,
    sealsReasoning: body.include?.includes("reasoning.encrypted_content") ?? false,
    stream: body.stream ?? false,
  };
}

/** Refuses an input that no context can hold, before its items are read. @throws ApiError */
export function refuseLongInput(body: ResponseBody, { contextLength }: BodyLimits): void {
  const { instructions, input, truncation } = body;
  const said = new LeastTokens(contextLength);
  said.content(instructions);
  if (Array.isArray(input)) passOutOfReach(input, contextLength, truncation);
  if (Array.isArray(input) && truncation !== "auto") {
    for (const item of input as ({ role?: unknown; content?: unknown; output?: unknown } | null)[]) {
      if (item?.role !== undefined) said.content(item.content); // reasoning does not count, because it may be left out
      said.content(item?.output);
    }
  } else {
    said.content(typeof input === "string" ? input : undefined);
  }
  if (said.isTooLong) throw said.refusal("input");
}

/** The id of the conversation that a response continues and adds to. @throws ApiError that names the field */
export function conversationOf({ conversation, previous_response_id }: ResponseBody): string | null {
  if (conversation === undefined || conversation === null) return null;
  const id = isObject(conversation)
    ? requiredName(conversation.id, "conversation.id")
    : requiredName(conversation, "conversation");
  if (!previous_response_id) return id;
  throw badRequest(
    "conversation",
    "A response continues either 'conversation' or 'previous_response_id', not both.",
    "mutually_exclusive_parameters",
  );
}

/**
 * Refuses a background response that nobody could read.
 *
 * @param canStore whether the server can store responses
 * @throws ApiError
 */
export function refuseUnstored({ background, store }: ResponseBody, canStore: boolean): void {
  if (background !== true) return;
  if (store === false) throw badRequest("background", "A background response is stored: 'store' must not be false.");
  if (!canStore) throw unsupported("background", "Background responses need the store, which is off.");
}

function refuseUnsupported(body: ResponseBody): void {
  if (body.prompt !== undefined && body.prompt !== null) {
    throw unsupported("prompt", "Prompt templates are not supported; use 'instructions' and 'input'.");
  }
}

function settingsOf(body: ResponseBody, model: string, tools: ReadTools): Omit<ResponseSettings, "store"> {
  const { reasoning, text } = body;
  const conversation = conversationOf(body);
  return {
    background: body.background ?? false,
    ...(conversation !== null && { conversation: { id: conversation } }),
    frequency_penalty: body.frequency_penalty ?? 0,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: body.max_tool_calls ?? null,
    model,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    presence_penalty: body.presence_penalty ?? 0,
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    reasoning: {
      effort: reasoning?.effort ?? "medium",
      summary: reasoning?.summary ?? reasoning?.generate_summary ?? null,
    },
    safety_identifier: body.safety_identifier ?? null,
    service_tier: "default",
    temperature: body.temperature ?? 1,
    text: {
      format: repeatedFormat(text?.format),
      ...(typeof text?.verbosity === "string" && { verbosity: text.verbosity }),
    },
    tool_choice: repeatedChoice(body.tool_choice),
    tools: tools.declared,
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: body.truncation ?? "disabled",
    ...(typeof body.user === "string" && { user: body.user }),
    metadata: body.metadata ?? {},
  };
}

/** Number of likeliest tokens to report; null when no log probabilities were requested. */
function readLogprobs(body: ResponseBody): number | null {
  const wanted = body.include?.includes("message.output_text.logprobs") ?? false;
  const top = body.top_logprobs ?? 0;
  return wanted || top > 0 ? top : null;
}
