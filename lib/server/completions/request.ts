import { outputFormat } from "../../chat/turn-constraint.js";
import { throwIfAborted } from "../../common/abort.js";
import { Breather } from "../../common/breather.js";
import type { Engine } from "../../engine.js";
import { contextOverflow } from "../../errors.js";
import type { GenerateOptions } from "../../generation/generate-options.js";
import { modelTraits } from "../../generation/model-traits.js";
import { encodeLong, leastTokens } from "../../tokenizer/encode-within.js";
import { everySpecialId } from "../../tokenizer/special-tokens.js";
import type { BodyLimits } from "../bodies/body-check.js";
import { type CommonBody, commonFields, logitBiasOf, samplingOf, withoutAbsent } from "../bodies/common-fields.js";
import { badRequest, unsupported } from "../http/error-response.js";
import type { ApiError } from "../http/errors.js";
import type { Tenant } from "../tenants/tenant.js";
import { promptLogprobsSchema, refuseStreamed } from "../turn/prompt-logprobs.js";
import type { AskedFormat } from "../turn/turn.js";

/** The body of a completion, after the schema has checked it. */
export interface CompletionBody extends CommonBody {
  prompt: unknown;
  max_tokens?: number;
  echo?: boolean;
  logprobs?: number;
  best_of?: number;
  suffix?: string;
  prompt_logprobs?: number;
  parse_special?: boolean;
  skip_special_tokens?: boolean;
  return_tokens_as_token_ids?: boolean;
}

export const completionSchema = {
  type: "object",
  required: ["model", "prompt"],
  properties: {
    ...commonFields,
    max_tokens: { type: "integer", minimum: 0 },
    echo: { type: "boolean" },
    logprobs: { type: "integer", minimum: 0, maximum: 20 },
    prompt_logprobs: promptLogprobsSchema,
    best_of: { type: "integer" },
    parse_special: { type: "boolean" },
    skip_special_tokens: { type: "boolean" },
    return_tokens_as_token_ids: { type: "boolean" },
  },
};

/** Maximum prompts times `n` of one body: more would let one caller fill the engine's queue. */
export const maxCompletions = 128;

/** @throws ApiError that names the field */
export function checkCompletion(body: CompletionBody): void {
  if (body.suffix !== undefined && body.suffix !== "") {
    throw badRequest("suffix", "suffix is not supported: this model continues a text at its end", unsupported);
  }
  if (body.best_of !== undefined && body.best_of !== (body.n ?? 1)) {
    throw badRequest("best_of", "best_of must equal n", unsupported);
  }
  refuseStreamed(body);
  if (body.max_tokens === 0 && body.echo !== true) {
    throw badRequest("max_tokens", "max_tokens can be 0 only together with echo");
  }
}

/** One prompt as token ids, and its place in the request. */
export interface ReadPrompt {
  tokens: Uint32Array;
  at: string;
}

/** The prompts as they stand in the body, before they are read. @throws ApiError that names the field */
export function askedPrompts({ prompt, n = 1 }: CompletionBody): { prompts: unknown[]; single: boolean } {
  const single = typeof prompt === "string" || (Array.isArray(prompt) && typeof prompt[0] === "number");
  const prompts: unknown[] = single ? [prompt] : Array.isArray(prompt) ? prompt : [];
  if (prompts.length === 0) throw badRequest("prompt", "prompt must be a text, token ids, or an array of either");
  if (prompts.length > maxCompletions) {
    throw badRequest("prompt", `prompt has ${prompts.length} entries; at most ${maxCompletions} are allowed`);
  }
  if (prompts.length * n > maxCompletions) {
    throw badRequest("n", `${prompts.length} prompts with n ${n} are more than ${maxCompletions} completions`);
  }
  return { prompts, single };
}

/** Refuses prompts that no context can hold, before they are read. @throws ApiError that names the prompt */
export function refuseLongPrompts(body: CompletionBody, { contextLength }: BodyLimits): void {
  const { prompts, single } = askedPrompts(body);
  for (const [index, entry] of prompts.entries()) {
    const tokens = Array.isArray(entry) ? entry.length : null;
    const least = typeof entry === "string" ? leastTokens(entry.length) : (tokens ?? 0);
    if (least >= contextLength) throw tooLong(single ? "prompt" : `prompt[${index}]`, contextLength, tokens);
  }
}

function tooLong(at: string, contextLength: number, tokens: number | null): ApiError {
  return badRequest(at, `${at}: ${contextOverflow(contextLength, tokens, at).message}`, "context_length_exceeded");
}

/**
 * Returns the prompts as token ids. Other threads encode long texts.
 *
 * @throws ApiError that names the field; the reason of an abort
 */
export async function readPrompts(
  body: CompletionBody,
  { prompts, single }: ReturnType<typeof askedPrompts>,
  engine: Engine,
  signal: AbortSignal,
): Promise<ReadPrompt[]> {
  const { contextLength } = engine.info.limits;
  const special = body.parse_special === true ? everySpecialId : undefined;
  const breather = new Breather();
  const read: ReadPrompt[] = [];
  for (const [index, entry] of prompts.entries()) {
    const at = single ? "prompt" : `prompt[${index}]`;
    const tokens =
      typeof entry === "string"
        ? await encodeLong(entry, contextLength - 1, { special, signal })
        : await readIds(entry, at, engine);
    if (tokens === null) throw tooLong(at, contextLength, null);
    if (tokens.length === 0) throw badRequest(at, `${at} is empty: at least one token is needed`);
    read.push({ tokens, at });
    await breather.rest();
    throwIfAborted(signal);
  }
  return read;
}

/** @throws ApiError that names the field */
export async function readIds(value: unknown, at: string, engine: Engine): Promise<Uint32Array> {
  const { vocab } = engine.info.model;
  if (!Array.isArray(value)) throw badRequest(at, `${at} must be an array of token ids`);
  const ids = new Uint32Array(value.length);
  const breather = new Breather();
  for (const [index, id] of (value as unknown[]).entries()) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocab) {
      throw badRequest(`${at}[${index}]`, `${at}[${index}] must be a token id below ${vocab}`);
    }
    ids[index] = id;
    if (index % 8192 === 8191) await breather.rest();
  }
  return ids;
}

/**
 * Builds the engine's options. Stop strings are not among them: they are matched in the visible text.
 *
 * @throws ApiError that names the field
 */
export function completionOptions(
  body: CompletionBody,
  format: AskedFormat | null,
  engine: Engine,
  tenant: Tenant,
  granted: { priority: number | undefined; client: string; adapter: string | undefined },
  signal: AbortSignal,
): GenerateOptions {
  const stopTokens = [...endTokens(body, engine), ...(body.stop_token_ids ?? [])];
  if (format !== null && !stopTokens.some((token) => token < engine.info.model.vocab)) {
    throw badRequest("ignore_eos", "ignore_eos with a format needs stop_token_ids: no other token can end the answer");
  }
  return {
    ...samplingOf(body),
    n: body.n ?? 1,
    maxTokens: Math.max(1, body.max_tokens ?? 16), // 0: nothing is generated
    logprobs: body.logprobs ?? 0,
    stopTokens,
    tenant: granted.client,
    signal,
    cacheSalt: tenant.cacheSalt(body.cache_salt),
    ...withoutAbsent({
      minTokens: body.min_tokens,
      logitBias: logitBiasOf(body, engine.info.model.vocab),
      priority: granted.priority,
      adapter: granted.adapter,
      // The prompt does not contain the schema: without the constraint, nothing would guide the answer to it.
      constraint:
        format === null ? undefined : ({ kind: "text", format: outputFormat({ ...format, strict: true }) } as const),
    }),
  };
}

/** What a completion reports of its prompt. */
export interface AskedScores {
  /** The most likely tokens of a position that anything needs. */
  top: number;
  /** The field that asks for it. */
  field: string;
}

/** Null: no log probabilities of the prompt. */
export function askedScores(body: CompletionBody): AskedScores | null {
  const echoed = body.echo === true ? body.logprobs : undefined;
  if (echoed === undefined && body.prompt_logprobs === undefined) return null;
  const top = Math.max(echoed ?? 0, body.prompt_logprobs ?? 0);
  return { top, field: body.prompt_logprobs === undefined ? "echo" : "prompt_logprobs" };
}

/** Tokens that end a text in addition to the caller's: the model's stop tokens, or none with `ignore_eos`. */
export function endTokens({ ignore_eos: ignored }: CompletionBody, engine: Engine): readonly number[] {
  return ignored === true ? [] : modelTraits(engine.info.model).stopTokens;
}
