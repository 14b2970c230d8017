/** What the caller is told, in the shape of OpenAI's API: `{ error: { message, type, param, code } }`. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status. */
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
  /** The field of the request that it is about. */
  readonly param: string | null;
  /** Seconds after which to try again. */
  readonly retryAfter?: number;

  constructor(
    status: number,
    message: string,
    options: { type?: string; code?: string | null; param?: string | null; retryAfter?: number } = {},
  ) {
    super(message);
    this.status = status;
    this.type = options.type ?? typeOf(status);
    this.code = options.code ?? null;
    this.param = options.param ?? null;
    if (options.retryAfter !== undefined) this.retryAfter = options.retryAfter;
  }
}

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 404) return "not_found_error";
  if (status === 429) return "rate_limit_error";
  if (status === 503) return "service_unavailable";
  return status < 500 ? "invalid_request_error" : "server_error";
}
