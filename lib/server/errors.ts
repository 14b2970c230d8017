const types: Readonly<Record<number, string>> = {
  401: "authentication_error",
  404: "not_found_error",
  429: "rate_limit_error",
  500: "server_error",
  503: "service_unavailable",
};

/** A refusal in the shape that OpenAI's clients read; thrown by any endpoint, sent by the server's error handler. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
  /** The field of the request that is at fault, as `input[0].content`. */
  readonly param: string | null;
  /** Seconds. */
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    message: string,
    options: { type?: string; code?: string | null; param?: string | null; retryAfter?: number } = {},
  ) {
    super(message);
    this.status = status;
    this.type = options.type ?? types[status] ?? "invalid_request_error";
    this.code = options.code ?? null;
    this.param = options.param ?? null;
    this.retryAfter = options.retryAfter;
  }
}
