import { GptOssError } from "../errors.js";
import { ApiError, apiError } from "./errors.js";

/** A refusal that names the field. */
export function badRequest(param: string | null, message: string, code: string | null = "invalid_value"): ApiError {
  return new ApiError(400, message, { param, code });
}

/** What the engine refuses while `work` is done is an error of the API. */
export async function withApiErrors<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof GptOssError ? named(apiError(error)) : error;
  }
}

/** The engine's refusals name what they are about in one fixed form; messages and tools are called as in the request. */
function named(error: ApiError): ApiError {
  const param = / for ((?:messages|tools)[[\].\w]*)/.exec(error.message)?.[1] ?? constrained(error.message);
  if (param === undefined || error.status !== 400) return error;
  return new ApiError(400, error.message, { code: error.code, param, cause: error.cause });
}

/** Which field a constraint came from that the engine does not support; it says so in the first words. */
function constrained(message: string): string | undefined {
  if (message.startsWith("the format of the final message")) return "response_format";
  if (message.startsWith("the parameters of tool")) return "tools";
  return message.startsWith("the format:") ? "structured_outputs" : undefined;
}
