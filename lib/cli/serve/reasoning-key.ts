import { readFileSync } from "node:fs";
import {
  areReasoningKeys,
  expectedReasoningKeys,
  isReasoningKey,
  reasoningKeysIn,
} from "../../common/reasoning-key.js";
import { reasoningKeysOfEnvironment } from "../../environment.js";
import { GptOssError, refusalOf } from "../../errors.js";

/**
 * The secrets in the file of `--reasoning-key-file`, one in each line, else those of the environment. Undefined: the
 * server makes one.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the file or the variable, and does not quote the secret
 */
export function readReasoningKeys(file: string | undefined): readonly string[] | undefined {
  if (file === undefined) return reasoningKeysOfEnvironment();
  const field = "reasoningKey";
  let lines: ReturnType<typeof reasoningKeysIn>;
  try {
    lines = reasoningKeysIn(readFileSync(file, "utf8"));
  } catch (cause) {
    const message = `The file ${file} of --reasoning-key-file cannot be read: ${(cause as Error).message}`;
    throw new GptOssError(refusalOf(cause) ?? "INVALID_ARGUMENT", message, { cause, field });
  }
  const keys = lines.map(({ key }) => key);
  if (areReasoningKeys(keys)) return keys;
  const wrong = lines.find(({ key }) => !isReasoningKey(key));
  const where = wrong === undefined ? "" : `; line ${wrong.line} is another text`;
  const message = `Expected ${expectedReasoningKeys} in the file ${file} of --reasoning-key-file${where}`;
  throw new GptOssError("INVALID_ARGUMENT", message, { field });
}
