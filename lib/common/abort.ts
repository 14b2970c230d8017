import { invalidArgument } from "../errors.js";
import { reading } from "./given-values.js";

/**
 * Signals as they come: of another realm, or of a polyfill that has no more than `aborted`, `reason` and events. Here they
 * are read, so that nothing else relies on more.
 */

export function isAbortSignal(value: unknown): value is AbortSignal {
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Record<string, unknown>;
  return (
    typeof aborted === "boolean" && typeof addEventListener === "function" && typeof removeEventListener === "function"
  );
}

/** Why it was aborted; never undefined. */
export function abortReason({ reason }: AbortSignal): unknown {
  return reason === undefined ? new DOMException("This operation was aborted", "AbortError") : reason;
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal !== undefined && reading("signal", () => signal.aborted)) throw abortReason(signal);
}

/** Calls back at the abort, once; what it returns takes the callback back. */
export function onAbort(signal: AbortSignal | undefined, callback: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  const listener = () => callback(abortReason(signal));
  reading("signal", () => signal.addEventListener("abort", listener, { once: true }));
  return () => signal.removeEventListener("abort", listener);
}

/** @throws GptOssError INVALID_ARGUMENT for what is no signal; undefined is none */
export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !reading("signal", () => isAbortSignal(signal)))
    throw invalidArgument("signal", "an AbortSignal", signal);
}
