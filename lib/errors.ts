/** Every code a `GptOssError` can carry. `native/base/error.h` holds the same list; a test compares the two. */
export const errorCodes = [
  "MODEL_NOT_FOUND",
  "MODEL_FORMAT",
  "MODEL_SHAPE",
  "UNSUPPORTED",
  "INVALID_ARGUMENT",
  "CONTEXT_OVERFLOW",
  "OUT_OF_MEMORY",
  "RESOURCE_LIMIT",
  "QUEUE_FULL",
  "DEVICE",
  "CLOSED",
  "CANCELLED",
  "ADDON_NOT_FOUND",
  "INTERNAL",
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** The one error type of this package: what was expected, what came, what to do, and a code for programs. */
export class GptOssError extends Error {
  override readonly name = "GptOssError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** An `INVALID_ARGUMENT` in one fixed form: `Expected EXPECTED for NAME but received VALUE (TYPE)`. */
export function invalidArgument(name: string, expected: string, received: unknown): GptOssError {
  return new GptOssError("INVALID_ARGUMENT", `Expected ${expected} for ${name} but received ${describe(received)}`);
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "undefined";
  if (typeof value === "string")
    return `${JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)} (string)`;
  if (typeof value === "function") return "a function";
  if (typeof value === "object")
    return Array.isArray(value) ? "an array" : `an object (${value.constructor?.name ?? "no prototype"})`;
  return `${String(value)} (${typeof value})`;
}

/** Runs a call into the addon; its errors carry `code` already and become `GptOssError`s with the caller's stack. */
export function nativeCall<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

export function fromNative(error: unknown): unknown {
  if (error instanceof GptOssError || !(error instanceof Error)) return error;
  const code = (error as Error & { code?: unknown }).code;
  if (typeof code !== "string" || !(errorCodes as readonly string[]).includes(code)) return error;
  return new GptOssError(code as ErrorCode, error.message, { cause: error });
}
