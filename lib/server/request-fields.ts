import type { OutputFormat } from "../constraint.js";
import { parseJson } from "../exact-json.js";
import type { SamplingOptions } from "../sampling.js";
import { badRequest } from "./error-response.js";

/** What chat completions and completions have in common. */

export const maxChoices = 8;

export const commonFields = {
  model: { type: "string" },
  temperature: { type: "number", minimum: 0, maximum: 2 },
  top_p: { type: "number", exclusiveMinimum: 0, maximum: 1 },
  top_k: { type: "integer", minimum: -1, maximum: 2 ** 31 - 1 },
  min_p: { type: "number", minimum: 0, maximum: 1 },
  presence_penalty: { type: "number", minimum: -2, maximum: 2 },
  frequency_penalty: { type: "number", minimum: -2, maximum: 2 },
  repetition_penalty: { type: "number", exclusiveMinimum: 0, maximum: 10 },
  logit_bias: { type: "object", additionalProperties: { type: "number", minimum: -100, maximum: 100 } },
  seed: { type: "integer" },
  n: { type: "integer", minimum: 1, maximum: maxChoices },
  stop: { type: ["string", "array"], items: { type: "string" }, maxItems: 16 },
  stop_token_ids: { type: "array", items: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 } },
  ignore_eos: { type: "boolean" },
  min_tokens: { type: "integer", minimum: 0 },
  include_stop_str_in_output: { type: "boolean" },
  stream: { type: "boolean" },
  stream_options: { type: "object", properties: { include_usage: { type: ["boolean", "null"] } } },
  structured_outputs: { type: "object" },
  guided_json: { type: ["object", "string", "boolean"] },
  guided_regex: { type: "string" },
  guided_choice: { type: "array", items: { type: "string" }, minItems: 1 },
  priority: { type: "integer", minimum: -1000, maximum: 1000 },
  cache_salt: { type: "string", maxLength: 1024 },
};

/** The fields above, as the schema has let them through. */
export interface CommonBody {
  model: string;
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  repetition_penalty?: number;
  logit_bias?: Record<string, number>;
  seed?: number;
  n?: number;
  stop?: string | string[];
  stop_token_ids?: number[];
  ignore_eos?: boolean;
  min_tokens?: number;
  include_stop_str_in_output?: boolean;
  stream?: boolean;
  stream_options?: { include_usage?: boolean | null };
  structured_outputs?: Record<string, unknown>;
  guided_json?: Record<string, unknown> | string | boolean;
  guided_regex?: string;
  guided_choice?: string[];
  guided_grammar?: unknown;
  priority?: number;
  cache_salt?: string;
}

export function samplingOf(body: CommonBody): SamplingOptions {
  return withoutAbsent({
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k === undefined ? undefined : Math.max(0, body.top_k),
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    // The API's seeds have a sign, the engine's have not.
    seed: body.seed === undefined ? undefined : BigInt.asUintN(64, BigInt(body.seed)),
  });
}

/** An empty stop string would stop everything at once; clients that send one mean none. */
export function stopOf({ stop = [] }: CommonBody): string[] {
  const strings = (typeof stop === "string" ? [stop] : stop).filter((text) => text !== "");
  for (const text of strings) {
    if (/\p{Surrogate}/u.test(text)) throw badRequest("stop", "stop must be well-formed Unicode");
  }
  return strings;
}

/** The format that vLLM's own fields ask for. */
export function guidedFormatOf(body: CommonBody): OutputFormat | null {
  const { structured_outputs: given = {} } = body;
  const json = given.json ?? body.guided_json;
  const regex = given.regex ?? body.guided_regex;
  const choice = given.choice ?? body.guided_choice;
  const asked = { json, json_object: given.json_object || undefined, regex, choice };
  const names = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null);
  const grammar = given.grammar ?? given.structural_tag ?? body.guided_grammar;
  if (grammar !== undefined && grammar !== null) {
    throw badRequest("structured_outputs", "Grammars are not supported: use json, regex or choice", unsupported);
  }
  if (names.length === 0) return null;
  if (names.length > 1)
    throw badRequest("structured_outputs", "Only one of json, json_object, regex and choice counts");
  if (asked.json_object) return { type: "json_object" };
  if (json !== undefined && json !== null) return { type: "json_schema", schema: readSchema(json) };
  if (typeof regex === "string") return { type: "regex", pattern: regex };
  if (Array.isArray(choice) && choice.length > 0 && choice.every((text) => typeof text === "string")) {
    return { type: "choice", choices: choice };
  }
  throw badRequest("structured_outputs", "Expected a regex (a string) or a choice (strings, at least one)");
}

export const unsupported = "unsupported_parameter";

function readSchema(value: unknown): Record<string, unknown> | boolean {
  const schema: unknown = typeof value === "string" ? parsed(value) : value;
  if (typeof schema === "boolean") return schema;
  if (schema !== null && typeof schema === "object" && !Array.isArray(schema)) return schema as Record<string, unknown>;
  throw badRequest("structured_outputs.json", "Expected a JSON schema");
}

function parsed(text: string): unknown {
  try {
    return parseJson(text, () => true);
  } catch {
    return undefined;
  }
}

/** An option that is undefined is not the same as one that is absent. */
export function withoutAbsent<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const present = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
