import { addon, type CheckpointSummary } from "./binding.js";
import { fromNative } from "./errors.js";
import { modelPath } from "./model-path.js";

export type { CheckpointSummary } from "./binding.js";

/**
 * Opens and checks a checkpoint as loading would, and returns its contents.
 *
 * @throws GptOssError MODEL_NOT_FOUND, MODEL_FORMAT, MODEL_SHAPE or UNSUPPORTED for a checkpoint that cannot be loaded.
 *
 * @example
 * ```ts
 * const { model, files } = await inspectCheckpoint("/models/gpt-oss-20b");
 * ```
 */
export async function inspectCheckpoint(model: string): Promise<CheckpointSummary> {
  const path = await modelPath(model);
  try {
    return await addon().inspect(path);
  } catch (error) {
    throw fromNative(error);
  }
}
