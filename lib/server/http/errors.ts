import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { shortened } from "../../common/shortened.js";
import { type ErrorCode, GptOssError, isError } from "../../errors.js";

/**
 * An error that the client receives as `{ error: { message, type, param, code } }` with an HTTP status.
 *
 * @example
 * ```ts
 * throw new ApiError(404, "There is no such model", { param: "model", code: "model_not_found" });
 * ```
 */
export class ApiError extends Error {
  /** Name of the class. */
  override readonly name = "ApiError";
  /** HTTP status. */
  readonly status: number;
  /** Kind of error, one of OpenAI's names. */
  readonly type: string;
  /** Reason of the error, for programs; null: no particular reason. */
  readonly code: string | null;
  /** The field of the request that caused the error. */
  readonly param: string | null;
  /** Seconds after which the client can try again. */
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    message: string,
    options: { type?: string; code?: string | null; param?: string | null; retryAfter?: number; cause?: unknown } = {},
  ) {
    super(shortened(message, mostCharacters), options.cause === undefined ? undefined : { cause: options.cause });
    this.status = status;
    this.type = options.type ?? typeOf(status);
    this.code = options.code ?? null;
    this.param = options.param ? shortened(options.param, mostCharacters) : null;
    this.retryAfter = options.retryAfter;
  }

  /**
   * The body of the answer, or the data of an error event after a stream has begun.
   *
   * @example
   * ```ts
   * reply.code(error.status).send(error.toJSON());
   * ```
   */
  toJSON(): { error: { message: string; type: string; param: string | null; code: string | null } } {
    const { message, type, param, code } = this;
    return { error: { message, type, param, code } };
  }
}

/** A message may quote the client's input, which can be as long as a body. */
const mostCharacters = 2000;

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 404) return "not_found_error";
  if (status === 429) return "rate_limit_error";
  if (status === 503) return "service_unavailable";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/** The model is not loaded yet, or is closed. */
export function notReady(message: string, retryAfter: number): ApiError {
  return new ApiError(503, message, { code: "not_ready", retryAfter });
}

/** The ApiError of each engine error. An error that is not listed is a fault of the server. */
const engineErrors: Partial<Record<ErrorCode, (error: GptOssError) => ApiError>> = {
  INVALID_ARGUMENT: (cause) => new ApiError(400, cause.message, { code: "invalid_value", cause }),
  UNSUPPORTED: (cause) => new ApiError(400, cause.message, { code: "unsupported_parameter", cause }),
  CONTEXT_OVERFLOW: (cause) => new ApiError(400, cause.message, { code: "context_length_exceeded", cause }),
  // Other requests may free their memory a moment later.
  OUT_OF_MEMORY: (cause) => new ApiError(503, cause.message, { code: "out_of_memory", retryAfter: 1, cause }),
  RESOURCE_LIMIT: (cause) => new ApiError(503, cause.message, { code: "resource_limit", retryAfter: 1, cause }),
  QUEUE_FULL: (cause) => new ApiError(429, cause.message, { code: "queue_full", retryAfter: 1, cause }),
  CLOSED: (cause) =>
    new ApiError(503, "The model is not available any more", { code: "not_ready", retryAfter: 10, cause }),
};

/** Fastify's errors whose wording or status differs from this API's, by their code. */
const frameworkErrors: Record<string, (error: FastifyError) => ApiError> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: (cause) =>
    new ApiError(415, "Expected a body of content-type application/json", { cause }),
  FST_ERR_BAD_URL: (cause) => new ApiError(400, "The path of the request is not a valid URL", { cause }),
};

/** Converts any thrown value into an ApiError. Details that clients must not see are kept as `cause` only. */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof GptOssError) return engineErrors[error.code]?.(error) ?? internal(error);
  if (!isError(error)) return internal(error);
  const failure = error as FastifyError;
  const known = frameworkErrors[failure.code];
  if (known) return known(failure);
  const status = failure.statusCode ?? 500;
  return status >= 400 && status < 500 ? new ApiError(status, failure.message, { cause: error }) : internal(error);
}

function internal(cause: unknown): ApiError {
  return new ApiError(
    500,
    "The server failed to process this request; its log has the reason under this request's id",
    {
      cause,
    },
  );
}

/** Fastify's error handler: answers the client, and logs faults of the server. */
export function handleError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const told = apiError(error);
  // A stream that has begun reports its failures itself.
  if (reply.raw.headersSent || reply.raw.destroyed) {
    if (told.status === 500) request.log.error({ err: error }, "a response failed after it had begun");
    reply.raw.destroy();
    return;
  }
  if (told.status === 500) request.log.error({ err: told.cause ?? error }, told.message);
  reply.code(told.status);
  if (told.retryAfter !== undefined) reply.header("retry-after", String(told.retryAfter));
  if (told.status === 401) reply.header("www-authenticate", "Bearer");
  reply.send(told.toJSON());
}
