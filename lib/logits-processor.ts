import { types } from "node:util";
import { invalidArgument } from "./errors.js";

/**
 * Changes the logits of the next token before it is chosen: in place, or by returning others of the same length; at
 * once or through a promise. `tokens` are the prompt and what this choice has generated so far. Only its own request
 * waits for it.
 */
export type LogitsProcessor = (
  logits: Float32Array,
  tokens: Uint32Array,
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that changes in place returns nothing
) => Float32Array | void | Promise<Float32Array | void>;

/** Rejects with what the processor throws, or with INVALID_ARGUMENT when it leaves no logits. */
export async function processLogits(
  processor: LogitsProcessor,
  logits: Float32Array,
  tokens: Uint32Array,
): Promise<Float32Array> {
  const vocab = logits.length;
  const result = (await processor(logits, tokens)) as unknown;
  const processed = result === undefined ? logits : result;
  const expected = `a Float32Array of ${vocab} logits, or nothing,`;
  if (!types.isFloat32Array(processed)) {
    throw invalidArgument("the result of logitsProcessor", expected, processed);
  }
  if (processed.length !== vocab) {
    throw invalidArgument("the result of logitsProcessor", expected, `${processed.length} logits`);
  }
  return processed;
}
