import type { SamplingOptions } from "../../generation/sampling.js";
import { badRequest } from "../http/error-response.js";
import type { GuidedBody } from "./format-fields.js";

/** The fields that chat completions and completions have in common. */

export const maxChoices = 8;

export const commonFields = {
  model: { type: "string", maxLength: 1024 },
  temperature: { type: "number", minimum: 0, maximum: 2 },
  top_p: { type: "number", minimum: 0, maximum: 1 },
  top_k: { type: "integer", minimum: -1, maximum: 2 ** 31 - 1 },
  min_p: { type: "number", minimum: 0, maximum: 1 },
  presence_penalty: { type: "number", minimum: -2, maximum: 2 },
  frequency_penalty: { type: "number", minimum: -2, maximum: 2 },
  repetition_penalty: { type: "number", exclusiveMinimum: 0, maximum: 10 },
  logit_bias: {
    type: "object",
    maxProperties: 4096,
    additionalProperties: { type: "number", minimum: -100, maximum: 100 },
  },
  // Numbers of 64 bits with a sign, as in OpenAI's API. JSON readers round those of more than 53 bits.
  seed: { type: "integer", minimum: -(2 ** 63), maximum: 2 ** 63 },
  n: { type: "integer", minimum: 1, maximum: maxChoices },
  stop: { type: ["string", "array"], items: { type: "string" }, maxItems: 16 },
  stop_token_ids: { type: "array", maxItems: 4096, items: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 } },
  ignore_eos: { type: "boolean" },
  min_tokens: { type: "integer", minimum: 0 },
  include_stop_str_in_output: { type: "boolean" },
  stream: { type: "boolean" },
  stream_options: { type: "object", properties: { include_usage: { type: ["boolean", "null"] } } },
  response_format: { type: "object" },
  structured_outputs: { type: "object" },
  guided_json: { type: ["object", "string", "boolean"] },
  guided_regex: { type: "string" },
  guided_choice: { type: "array", items: { type: "string" }, minItems: 1 },
  priority: { type: "integer", minimum: -1000, maximum: 1000 },
  cache_salt: { type: "string", maxLength: 1024 },
};

/** Labels of a response or a conversation. They are kept for the client, and have no effect. */
export const metadataField = {
  type: "object",
  maxProperties: 16,
  propertyNames: { type: "string", maxLength: 64 },
  additionalProperties: { type: "string", maxLength: 512 },
};

/** The common fields, after the schema has checked them. */
export interface CommonBody extends GuidedBody {
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
  response_format?: Record<string, unknown>;
  priority?: number;
  cache_salt?: string;
}

/** The fields that say how tokens are drawn. */
export type SamplingBody = Pick<
  CommonBody,
  "temperature" | "top_p" | "top_k" | "min_p" | "repetition_penalty" | "presence_penalty" | "frequency_penalty" | "seed"
>;

/** The least `topP` that the engine has: it keeps only the likeliest token. */
const leastTopP = 2 ** -126;

export function samplingOf(body: SamplingBody): SamplingOptions {
  return withoutAbsent({
    temperature: body.temperature,
    topP: body.top_p === undefined ? undefined : Math.max(leastTopP, body.top_p),
    topK: body.top_k === undefined ? undefined : Math.max(0, body.top_k),
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    // The API's seeds are signed; the engine's are unsigned.
    seed: body.seed === undefined ? undefined : BigInt.asUintN(64, BigInt(body.seed)),
  });
}

/** An empty stop string would end the answer at once. Clients that send one mean that there is none. */
export function stopOf({ stop = [] }: CommonBody): string[] {
  return (typeof stop === "string" ? [stop] : stop).filter((text) => text !== "");
}

/** @throws ApiError that names the entry whose id is not a token id of the model */
export function logitBiasOf({ logit_bias: bias }: CommonBody, vocab: number): Record<number, number> | undefined {
  for (const id of Object.keys(bias ?? {})) {
    if (/^(0|[1-9]\d{0,9})$/.test(id) && Number(id) < vocab) continue;
    const at = /^\d+$/.test(id) ? `logit_bias[${id}]` : `logit_bias.${id}`;
    throw badRequest(at, `logit_bias has ${JSON.stringify(id)}, which is not a token id below ${vocab}`);
  }
  return bias;
}

/** Drops undefined members: an undefined option is not the same as an absent one. */
export function withoutAbsent<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const present = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
