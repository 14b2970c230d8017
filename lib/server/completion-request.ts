import type { Engine } from "../engine.js";
import type { GenerateOptions } from "../generate-options.js";
import { outputFormat } from "../turn-constraint.js";
import { badRequest, unsupported } from "./error-response.js";
import { type CommonBody, commonFields, logitBiasOf, samplingOf, withoutAbsent } from "./request-fields.js";
import type { AskedFormat } from "./turn.js";

/** The body of a completion, as the schema has let it through. */
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
    max_tokens: { type: "integer", minimum: 1 },
    echo: { type: "boolean" },
    logprobs: { type: "integer", minimum: 0, maximum: 20 },
    best_of: { type: "integer" },
    parse_special: { type: "boolean" },
    skip_special_tokens: { type: "boolean" },
    return_tokens_as_token_ids: { type: "boolean" },
  },
};

/** More would hold the engine's queue for one caller. */
const maxPrompts = 128;

/** @throws ApiError that names the field */
export function checkCompletion(body: CompletionBody): void {
  if (body.suffix !== undefined && body.suffix !== "") {
    throw badRequest("suffix", "suffix is not supported: this model continues a text at its end", unsupported);
  }
  if (body.best_of !== undefined && body.best_of !== (body.n ?? 1)) {
    throw badRequest("best_of", "best_of can only be what n is", unsupported);
  }
  if (body.prompt_logprobs !== undefined) {
    throw badRequest("prompt_logprobs", "prompt_logprobs is not supported", unsupported);
  }
  if (body.echo === true && body.logprobs !== undefined) {
    throw badRequest("echo", "echo together with logprobs is not supported", unsupported);
  }
}

/** One prompt as token ids, and where in the request it stands. */
export interface ReadPrompt {
  tokens: Uint32Array;
  at: string;
}

/** @throws ApiError that names the field */
export function readPrompts(body: CompletionBody, engine: Engine): ReadPrompt[] {
  const { prompt } = body;
  const single = typeof prompt === "string" || (Array.isArray(prompt) && typeof prompt[0] === "number");
  const prompts: unknown[] = single ? [prompt] : Array.isArray(prompt) ? prompt : [];
  if (prompts.length === 0) throw badRequest("prompt", "prompt must be a text, token ids, or an array of either");
  if (prompts.length > maxPrompts)
    throw badRequest("prompt", `prompt has ${prompts.length} entries of at most ${maxPrompts}`);
  return prompts.map((entry, index) => {
    const at = single ? "prompt" : `prompt[${index}]`;
    const tokens = typeof entry === "string" ? encoded(entry, body, engine) : readIds(entry, at, engine);
    if (tokens.length === 0) throw badRequest(at, `${at} is empty: at least one token is needed`);
    return { tokens, at };
  });
}

function encoded(text: string, { parse_special: special }: CompletionBody, { tokenizer }: Engine): Uint32Array {
  return tokenizer.encode(text, special === true ? { allowedSpecial: "all" } : {});
}

/** @throws ApiError that names the field */
export function readIds(value: unknown, at: string, engine: Engine): Uint32Array {
  const { vocab } = engine.info.model;
  if (!Array.isArray(value)) throw badRequest(at, `${at} must be an array of token ids`);
  return Uint32Array.from(value, (id: unknown, index) => {
    if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < vocab) return id;
    throw badRequest(`${at}[${index}]`, `${at}[${index}] must be a token id below ${vocab}`);
  });
}

/** Stop strings are looked for in what is shown, not by the engine. */
export function completionOptions(
  body: CompletionBody,
  format: AskedFormat | null,
  engine: Engine,
  signal: AbortSignal,
): GenerateOptions {
  return {
    ...samplingOf(body),
    n: body.n ?? 1,
    maxTokens: body.max_tokens ?? 16,
    logprobs: body.logprobs ?? 0,
    stopTokens: [...endTokens(body, engine), ...(body.stop_token_ids ?? [])],
    signal,
    ...withoutAbsent({
      minTokens: body.min_tokens,
      logitBias: logitBiasOf(body, engine.info.model.vocab),
      priority: body.priority,
      cacheSalt: body.cache_salt,
      // The schema is nowhere in the prompt: an answer that is not held to it would have nothing of it.
      constraint:
        format === null ? undefined : ({ kind: "text", format: outputFormat({ ...format, strict: true }) } as const),
    }),
  };
}

/** Where the model itself ends a text. */
export function endTokens({ ignore_eos: ignored }: CompletionBody, engine: Engine): readonly number[] {
  if (ignored === true) return [];
  const { specialTokens, vocabSize } = engine.tokenizer;
  const { eosTokens, vocab } = engine.info.model;
  if (vocab !== vocabSize) return eosTokens;
  const ends = ["<|endoftext|>", "<|return|>", "<|call|>"].map((name) => specialTokens[name]!);
  return [...new Set([...eosTokens, ...ends])];
}
