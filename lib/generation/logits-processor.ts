import { types } from "node:util";
import { lengthOf } from "../common/given-values.js";
import { errorOf, invalidArgument } from "../errors.js";

/**
 * Changes the logits of the next token before it is chosen: in place, or by returning others of the same length; at
 * once or through a promise. `tokens` are the prompt and what this choice has generated so far. Only its own request
 * waits for it.
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
 * Rejects with the error that the processor throws, or with INVALID_ARGUMENT when it throws what is no error, or leaves no
 * logits.
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
  const length = lengthOf(processed); // what the addon will read: 0 when the processor has given the memory away
  if (length !== vocab) {
    throw invalidArgument("the result of logitsProcessor", expected, `${length} logits`, "logitsProcessor");
  }
  return processed;
}
