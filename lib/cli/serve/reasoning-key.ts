import { readFileSync } from "node:fs";
import { expectedReasoningKey, isReasoningKey } from "../../common/reasoning-key.js";
import { reasoningKeyOfEnvironment } from "../../environment.js";
import { GptOssError, refusalOf } from "../../errors.js";

/**
 * The secret in the file of `--reasoning-key-file`, else that of the environment. Undefined: the server makes one.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the file or the variable, and does not quote the secret
 */
export function readReasoningKey(file: string | undefined): string | undefined {
  if (file === undefined) return reasoningKeyOfEnvironment();
  const field = "reasoningKey";
  let key: string;
  try {
    key = readFileSync(file, "utf8").trim();
  } catch (cause) {
    const message = `The file ${file} of --reasoning-key-file cannot be read: ${(cause as Error).message}`;
    throw new GptOssError(refusalOf(cause) ?? "INVALID_ARGUMENT", message, { cause, field });
  }
  if (isReasoningKey(key)) return key;
  const message = `Expected ${expectedReasoningKey} in the file ${file} of --reasoning-key-file`;
  throw new GptOssError("INVALID_ARGUMENT", message, { field });
}
