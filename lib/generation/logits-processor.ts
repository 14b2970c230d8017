import { types } from "node:util";
import { lengthOf } from "../common/given-values.js";
import { errorOf, invalidArgument } from "../errors.js";

/**
 * Changes the logits of the next token before it is chosen: in place, or by returning an array of the same length,
 * directly or as a promise. `tokens` are the prompt and the tokens that this choice has generated so far. Only this
 * request waits for it.
 *
 * @example
 * ```ts
 * const neverTwice: LogitsProcessor = (logits, tokens) => {
 *   logits[tokens[tokens.length - 1]!] = -Infinity;
 * };
 * ```
 */
export type LogitsProcessor = (
  logits: Float32Array,
  tokens: Uint32Array,
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that changes in place returns nothing
) => Float32Array | void | Promise<Float32Array | void>;

/**
 * Rejects with the error that the processor throws. Rejects with INVALID_ARGUMENT when it throws a value that is not an
 * error, or returns no valid logits.
 */
export async function processLogits(
  processor: LogitsProcessor,
  logits: Float32Array,
  tokens: Uint32Array,
): Promise<Float32Array> {
  const vocab = logits.length;
  let result: unknown;
  try {
    result = await processor(logits, tokens);
  } catch (thrown) {
    throw errorOf("logitsProcessor", thrown);
  }
  const processed = result === undefined ? logits : result;
  const expected = `a Float32Array of ${vocab} logits, or nothing,`;
  if (!types.isFloat32Array(processed)) {
    throw invalidArgument("the result of logitsProcessor", expected, processed, "logitsProcessor");
  }
  const length = lengthOf(processed); // the length that the addon will see: 0 for a transferred buffer
  if (length !== vocab) {
    throw invalidArgument("the result of logitsProcessor", expected, `${length} logits`, "logitsProcessor");
  }
  return processed;
}
