import { readFileSync } from "node:fs";
import { areReasoningKeys, expectedReasoningKeys } from "../../common/reasoning-key.js";
import { reasoningKeyOfEnvironment } from "../../environment.js";
import { GptOssError, refusalOf } from "../../errors.js";

/**
 * The secrets in the file of `--reasoning-key-file`, one in each line, else that of the environment. Undefined: the
 * server makes one.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the file or the variable, and does not quote the secret
 */
export function readReasoningKeys(file: string | undefined): readonly string[] | undefined {
  if (file === undefined) {
    const key = reasoningKeyOfEnvironment();
    return key === undefined ? undefined : [key];
  }
  const field = "reasoningKey";
  let keys: string[];
  try {
    const lines = readFileSync(file, "utf8").split("\n");
    keys = lines.map((line) => line.trim()).filter((line) => line !== "");
  } catch (cause) {
    const message = `The file ${file} of --reasoning-key-file cannot be read: ${(cause as Error).message}`;
    throw new GptOssError(refusalOf(cause) ?? "INVALID_ARGUMENT", message, { cause, field });
  }
  if (areReasoningKeys(keys)) return keys;
  const message = `Expected ${expectedReasoningKeys} in the file ${file} of --reasoning-key-file`;
  throw new GptOssError("INVALID_ARGUMENT", message, { field });
}
