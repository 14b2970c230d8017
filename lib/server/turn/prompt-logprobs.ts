import type { Engine } from "../../engine.js";
import type { PromptLogprobs, PromptLogprobsOptions } from "../../generation/prompt-logprobs.js";
import { tokenBytes } from "../../tokenizer/token-table.js";
import { badRequest, unsupported } from "../http/error-response.js";

/** Log probabilities of prompts, for `prompt_logprobs` as vLLM has it, and for echoed prompts. */

export const promptLogprobsSchema = { type: "integer", minimum: 0, maximum: 20 };

/** Log probabilities of one request, likeliest tokens included: 32 MiB. A whole context with twenty fits. */
const mostLogprobs = 2 ** 22;

/** They belong to the whole answer, and a stream has no place for them. @throws ApiError */
export function refuseStreamed({
  prompt_logprobs: asked,
  stream,
}: {
  prompt_logprobs?: number;
  stream?: boolean;
}): void {
  if (asked === undefined || stream !== true) return;
  throw badRequest("prompt_logprobs", "prompt_logprobs is not supported together with stream", unsupported);
}

/**
 * Evaluates the prompts before their completions begin, which then find them in the prefix cache. If one fails, the
 * others end as well.
 *
 * @param field the field that asks for it
 * @param copies how often the answer tells those of each prompt
 * @throws ApiError when the prompts are too long together; GptOssError; the reason of an abort
 */
export async function scorePrompts(
  engine: Engine,
  prompts: readonly Uint32Array[],
  options: PromptLogprobsOptions & { signal: AbortSignal; logprobs: number },
  field: string,
  copies = 1,
): Promise<PromptLogprobs[]> {
  const tokens = copies * prompts.reduce((sum, { length }) => sum + length, 0);
  const most = Math.floor(mostLogprobs / (1 + options.logprobs));
  if (tokens > most) {
    throw badRequest(field, `${field}: log probabilities of at most ${most} prompt tokens fit into one answer`);
  }
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  try {
    return await Promise.all(prompts.map((prompt) => engine.promptLogprobs(prompt, { ...options, signal })));
  } catch (error) {
    failed.abort();
    throw error;
  }
}

interface RankedLogprob {
  logprob: number;
  /** Null: below the likeliest tokens that were asked for. */
  rank: number | null;
  decoded_token: string;
}

/** For each token of the prompt, itself and the `top` likeliest ones by their ids; null for the first token. */
export function promptLogprobsField(
  logprobs: PromptLogprobs,
  top: number,
): Iterable<Record<string, RankedLogprob> | null> {
  return {
    *[Symbol.iterator]() {
      for (const entry of logprobs) {
        if (entry === null) {
          yield null;
          continue;
        }
        const likely = entry.top.slice(0, top);
        const known = likely.findIndex(({ token }) => token === entry.token);
        const listed: [number, RankedLogprob][] = likely.map(({ token, logprob }, index) => {
          return [token, ranked(token, logprob, index + 1)];
        });
        if (known < 0) listed.push([entry.token, ranked(entry.token, entry.logprob, null)]);
        yield Object.fromEntries(listed);
      }
    },
  };
}

/** JSON has no infinity. */
function ranked(token: number, logprob: number, rank: number | null): RankedLogprob {
  const text = tokenBytes(token).toString("utf8");
  return { logprob: Number.isFinite(logprob) ? logprob : -9999, rank, decoded_token: text };
}
