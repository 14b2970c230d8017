import { type ErrorCode, GptOssError } from "../errors.js";
import { ApiError } from "./errors.js";

/** The body that tells of an error. */
export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

export function errorBody({ message, type, param, code }: ApiError): ErrorBody {
  return { error: { message, type, param, code } };
}

/** A refusal that names the field. */
export function badRequest(param: string | null, message: string, code: string | null = "invalid_value"): ApiError {
  return new ApiError(400, message, { param, code });
}

/** What an error of the engine means to who asked; what nobody foresaw is a 500 that tells no inner detail. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (!(error instanceof GptOssError)) return new ApiError(500, "The server failed at this request");
  return ofEngine[error.code]?.(error.message) ?? new ApiError(500, error.message);
}

const unavailable = (message: string) => new ApiError(503, message, { code: "not_ready", retryAfter: 1 });

const ofEngine: Partial<Record<ErrorCode, (message: string) => ApiError>> = {
  INVALID_ARGUMENT: (message) => new ApiError(400, message, { code: "invalid_value", param: paramOf(message) }),
  UNSUPPORTED: (message) => new ApiError(400, message, { code: "unsupported_parameter" }),
  CONTEXT_OVERFLOW: (message) => new ApiError(400, message, { code: "context_length_exceeded", param: "messages" }),
  QUEUE_FULL: (message) => new ApiError(429, message, { code: "queue_full", retryAfter: 1 }),
  CLOSED: unavailable,
  DEVICE: unavailable,
};

/** The engine's refusals name what they are about in one fixed form; messages and tools are called as in the request. */
function paramOf(message: string): string | null {
  return / for ((?:messages|tools)[[\].\w]*)/.exec(message)?.[1] ?? null;
}

/** What the engine refuses while `work` is done is an error of the API. */
export async function withApiErrors<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof GptOssError ? asApiError(error) : error;
  }
}
