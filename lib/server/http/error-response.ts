import { GptOssError } from "../../errors.js";
import type { FieldNames, TurnRequest } from "../turn/turn.js";
import { ApiError, apiError } from "./errors.js";

export const unsupported = "unsupported_parameter";

/** A refusal that names the field. */
export function badRequest(param: string | null, message: string, code: string | null = "invalid_value"): ApiError {
  return new ApiError(400, message, { param, code });
}

/** The names of the engine's options in requests for chat completions and completions. */
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

/** What of a request its refusals can be about. */
export type Blamed = Pick<TurnRequest, "fieldNames"> & Partial<Pick<TurnRequest, "tools" | "format">>;

/** What the engine refuses while `work` is done becomes an error of the API that names the field of the request. */
export async function withFieldNames<T>(request: Blamed, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw namedRefusal(error, request);
  }
}

/** The engine's refusals name what they are about in one fixed form; others pass as they are. */
export function namedRefusal(error: unknown, request: Blamed): unknown {
  if (!(error instanceof GptOssError)) return error;
  const told = apiError(error);
  if (told.status !== 400) return error;
  const { param, message } = named(error, { ...commonNames, ...request.fieldNames }, request);
  return new ApiError(400, message, { code: told.code, param, cause: error });
}

function named(
  { code, message }: GptOssError,
  names: FieldNames,
  { tools = [], format }: Blamed,
): { param: string | null; message: string } {
  if (code === "CONTEXT_OVERFLOW") return { param: names.prompt ?? null, message };
  const tool = /^the parameters of tool ("(?:[^"\\]|\\.)*")/.exec(message)?.[1];
  if (tool !== undefined)
    return { param: tools.find(({ name }) => JSON.stringify(name) === tool)?.at ?? null, message };
  if (format && /^the format( of the final message)?:/.test(message)) return { param: format.at, message };
  // Of a completion with a format, which must be able to end.
  if (message.startsWith("the stop token ")) return { param: names.stopTokens ?? null, message };
  if (message.endsWith("needs a stop token to end with")) {
    return {
      param: "ignore_eos",
      message: "ignore_eos leaves a format no token to end with; stop_token_ids can name one",
    };
  }
  const option = / for (?:an (?:id|element) of )?([a-zA-Z_][\w.[\]]*)/.exec(message)?.[1];
  if (option === undefined) return { param: null, message };
  const param = fieldOf(option, names, tools, format);
  return { param, message: param === null ? message : message.replace(option, param) };
}

/** `stopTokens[3]` is `stop_token_ids[3]`: the longest part of an option that has a name in requests gets it. */
function fieldOf(
  option: string,
  names: FieldNames,
  tools: NonNullable<Blamed["tools"]>,
  format: Blamed["format"],
): string | null {
  const index = /^(?:constraint\.)?tools\[(\d+)\]/.exec(option)?.[1];
  if (index !== undefined) return tools[Number(index)]?.at ?? null;
  if (/^constraint\.(final|format)\b/.test(option)) return format?.at ?? null;
  for (
    let end = option.length;
    end > 0;
    end = Math.max(...[".", "["].map((mark) => option.lastIndexOf(mark, end - 1)))
  ) {
    const name = option.slice(0, end);
    if (Object.hasOwn(names, name)) return names[name]! + option.slice(end);
  }
  return null;
}
