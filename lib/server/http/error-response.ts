import { GptOssError } from "../../errors.js";
import type { FieldNames, TurnRequest } from "../turn/turn.js";
import { ApiError, apiError } from "./errors.js";

export const unsupported = "unsupported_parameter";

/** A refusal that names the field. */
export function badRequest(param: string | null, message: string, code: string | null = "invalid_value"): ApiError {
  return new ApiError(400, message, { param, code });
}

/** The engine's options, by their names in requests for chat completions and completions. */
const commonNames: FieldNames = {
  temperature: "temperature",
  topP: "top_p",
  topK: "top_k",
  minP: "min_p",
  repetitionPenalty: "repetition_penalty",
  presencePenalty: "presence_penalty",
  frequencyPenalty: "frequency_penalty",
  seed: "seed",
  n: "n",
  maxTokens: "max_tokens",
  minTokens: "min_tokens",
  stopTokens: "stop_token_ids",
  stop: "stop",
  logprobs: "top_logprobs",
  logitBias: "logit_bias",
  priority: "priority",
  cacheSalt: "cache_salt",
  messages: "messages",
  prompt: "messages",
  tools: "tools",
  "constraint.tools": "tools",
  "constraint.analysisTokens": "reasoning.max_tokens",
};

/** The parts of a request that a refusal can name. */
export type Blamed = Partial<Pick<TurnRequest, "fieldNames" | "conversationAt" | "tools" | "format">>;

/** Runs `work`. A refusal by the engine becomes an ApiError that names the request's field. */
export async function withFieldNames<T>(request: Blamed, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw namedRefusal(error, request);
  }
}

/**
 * Converts a refusal by the engine into an ApiError with the request's name for the field. Returns other errors
 * unchanged.
 */
export function namedRefusal(error: unknown, request: Blamed): unknown {
  if (!(error instanceof GptOssError)) return error;
  const told = apiError(error);
  if (told.status !== 400) return error;
  const { field } = error;
  const param = field === undefined ? null : paramOf(field, request);
  return new ApiError(400, worded(error, param, request), { code: told.code, param, cause: error });
}

/** Replaces the option's name in messages that `invalidArgument` worded. */
function worded({ field, message }: GptOssError, param: string | null, { tools = [] }: Blamed): string {
  const tool = tools.find(({ at, worded }) => worded !== undefined && at === param);
  if (tool !== undefined) return tool.worded!(message);
  return param === null ? message : message.replace(` ${field} but received `, () => ` ${param} but received `);
}

/**
 * `stopTokens[3]` becomes `stop_token_ids[3]`: the longest prefix of a field that has a name in requests is replaced.
 */
function paramOf(field: string, request: Blamed): string | null {
  const names: FieldNames = { ...commonNames, ...request.fieldNames };
  const places = placesOf(request);
  for (
    let end = field.length;
    end > 0;
    end = Math.max(field.lastIndexOf(".", end - 1), field.lastIndexOf("[", end - 1))
  ) {
    const part = field.slice(0, end);
    const place = places.get(part);
    if (place !== undefined) return place;
    if (Object.hasOwn(names, part)) return names[part]! + field.slice(end);
  }
  return null;
}

/**
 * Places of values that the request writes in another form. A path inside such a value would not exist in the request.
 */
function placesOf({ tools = [], format, conversationAt }: Blamed): ReadonlyMap<string, string> {
  const places = new Map<string, string>();
  for (const [index, { at }] of tools.entries()) {
    for (const list of ["tools", "constraint.tools"]) places.set(`${list}[${index}]`, at);
  }
  for (const name of ["constraint.final", "constraint.format"]) if (format) places.set(name, format.at);
  // The engine may notice only while it writes that a pattern is ambiguous, and then names no part of the constraint.
  const written = [...(format ? [format.at] : []), ...tools.flatMap(({ at, worded }) => (worded ? [at] : []))];
  if (written.length === 1) places.set("constraint", written[0]!);
  for (const name of ["messages", "prompt"]) if (conversationAt !== undefined) places.set(name, conversationAt);
  return places;
}
