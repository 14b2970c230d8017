import { types } from "node:util";

/** The codes that the addon knows, too. `native/base/error.h` has the same list; a test compares the two. */
export const nativeErrorCodes = [
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

/** Every code of a `GptOssError`. The addon has no network, so it has no code for a download or for another server. */
export const errorCodes = [...nativeErrorCodes, "DOWNLOAD", "SERVER"] as const;

/** A code that a `GptOssError` carries. */
export type ErrorCode = (typeof errorCodes)[number];

/** Options of the constructor of `GptOssError`. */
export interface GptOssErrorOptions extends ErrorOptions {
  /** The argument or option with the error; absent, null or empty: none. */
  field?: string | null | undefined;
}

/** The only error type of this package. It states what was expected, what was received, the remedy, and a code. */
export class GptOssError extends Error {
  /** Always `"GptOssError"`. */
  override readonly name = "GptOssError";
  /** The kind of error, for programs. */
  readonly code: ErrorCode;
  /**
   * The argument or option with the error, by its name in the call: `"temperature"`, `"stop[3]"`,
   * `"messages[2].content"`, `"kvCache.dtype"`. Absent where the error concerns none, or several.
   */
  declare readonly field?: string;

  constructor(code: ErrorCode, message: string, { field, ...options }: GptOssErrorOptions = {}) {
    super(message, options);
    this.code = code;
    if (field) this.field = field;
  }

  /** Compares name and code, so that an error of another copy of this package or of another realm matches as well. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: a derived class calls this method, too
    if (this !== GptOssError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return (
      types.isNativeError(value) && value.name === "GptOssError" && isErrorCode((value as { code?: unknown }).code)
    );
  }
}

/** Returns the code for an error of the system that shows a lack of resources: no file or addon is missing then. */
export function refusalOf(error: unknown): "RESOURCE_LIMIT" | "OUT_OF_MEMORY" | undefined {
  const { code, message } = isError(error)
    ? (error as NodeJS.ErrnoException)
    : { code: undefined, message: String(error) };
  if (code === "EMFILE" || code === "ENFILE" || /too many open files/i.test(message)) return "RESOURCE_LIMIT";
  if (code === "ENOMEM" || /cannot allocate memory/i.test(message)) return "OUT_OF_MEMORY";
  return undefined;
}

function isErrorCode(code: unknown): code is ErrorCode {
  return (errorCodes as readonly unknown[]).includes(code);
}

/** True for an error of any realm, and for an object of a library that only inherits from Error. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error;
}

/**
 * The error for a prompt longer than the context, worded as in the addon.
 *
 * @param tokens the length of the prompt; null: not counted to the end
 * @param field the argument that contains the prompt
 */
export function contextOverflow(contextLength: number, tokens: number | null, field: string): GptOssError {
  const size = tokens === null ? `more than ${contextLength - 1}` : String(tokens);
  const message = `the prompt has ${size} tokens and the context holds ${contextLength}, output included`;
  return new GptOssError("CONTEXT_OVERFLOW", message, { field });
}

/**
 * An `INVALID_ARGUMENT` in one fixed form: `Expected EXPECTED for NAME but received VALUE (TYPE)`.
 *
 * @param field the `field` of the error, where `name` is a description; null: none
 */
export function invalidArgument(
  name: string,
  expected: string,
  received: unknown,
  field: string | null = name,
): GptOssError {
  const message = `Expected ${expected} for ${name} but received ${describe(received)}`;
  return new GptOssError("INVALID_ARGUMENT", message, { field });
}

/** Renames the field of an error to the name in the caller's call. `fieldOf` returns null where it has no such name. */
export function aboutField(error: unknown, fieldOf: (field: string) => string | null): unknown {
  if (!(error instanceof GptOssError) || error.field === undefined) return error;
  const field = fieldOf(error.field);
  return field === error.field ? error : new GptOssError(error.code, error.message, { cause: error, field });
}

/** Returns the error that a caller's function threw, or INVALID_ARGUMENT for a thrown value that is not an error. */
export function errorOf(name: string, thrown: unknown): Error {
  if (isError(thrown)) return thrown;
  const message = `${name} threw ${describe(thrown)}, which is not an Error`;
  return new GptOssError("INVALID_ARGUMENT", message, { cause: thrown, field: name });
}

function describe(value: unknown): string {
  try {
    return described(value);
  } catch {
    return "an object that cannot be read"; // a getter or a trap of the object throws
  }
}

function described(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "undefined";
  if (typeof value === "string")
    return `${JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)} (string)`;
  if (typeof value === "function") return "a function";
  if (typeof value === "object")
    return Array.isArray(value) ? "an array" : `an object (${value.constructor?.name ?? "no prototype"})`;
  return `${String(value)} (${typeof value})`;
}

/** Calls the addon. Its errors already carry `code` and `field`; they become `GptOssError`s with the caller's stack. */
export function nativeCall<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

export function fromNative(error: unknown): unknown {
  // The error may be of another realm, because the addon is loaded in the main one.
  if (error instanceof GptOssError || !types.isNativeError(error)) return error;
  const { code, field } = error as Error & { code?: unknown; field?: string };
  return isErrorCode(code) ? new GptOssError(code, error.message, { cause: error, field }) : error;
}
