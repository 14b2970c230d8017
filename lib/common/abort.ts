import { invalidArgument } from "../errors.js";
import { reading } from "./given-values.js";

/**
 * Reads abort signals of any kind: of another realm, or of a polyfill with only `aborted`, `reason` and events. No
 * other code relies on more than these.
 */

export function isAbortSignal(value: unknown): value is AbortSignal {
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Record<string, unknown>;
  return (
    typeof aborted === "boolean" && typeof addEventListener === "function" && typeof removeEventListener === "function"
  );
}

/** Returns the reason of the abort; never undefined. */
export function abortReason({ reason }: AbortSignal): unknown {
  return reason === undefined ? new DOMException("This operation was aborted", "AbortError") : reason;
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal !== undefined && reading("signal", () => signal.aborted)) throw abortReason(signal);
}

/** Calls back once at the abort. The returned function removes the callback. */
export function onAbort(signal: AbortSignal | undefined, callback: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  const listener = () => callback(abortReason(signal));
  reading("signal", () => signal.addEventListener("abort", listener, { once: true }));
  return () => signal.removeEventListener("abort", listener);
}

/** @throws GptOssError INVALID_ARGUMENT for a value that is not a signal; undefined is allowed */
export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !reading("signal", () => isAbortSignal(signal)))
    throw invalidArgument("signal", "an AbortSignal", signal);
}
