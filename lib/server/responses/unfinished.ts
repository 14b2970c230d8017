import { GptOssError } from "../../errors.js";

/** The reason why a turn's events ended without an end event. */
export function unfinished(signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  return new GptOssError("INTERNAL", "The turn ended without an end event.");
}
