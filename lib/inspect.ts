import { addon, type CheckpointSummary } from "./binding.js";
import { fromNative } from "./errors.js";
import { type ResolvedModel, resolveModel } from "./models/index.js";

export type { CheckpointSummary } from "./binding.js";

/** The contents of a checkpoint, and how its name led to it. */
export interface InspectedModel extends CheckpointSummary, Omit<ResolvedModel, "path"> {}

/**
 * Opens and checks a checkpoint as loading would, and returns its contents.
 *
 * @param model a path or a name, as for `Engine.load`
 * @throws GptOssError MODEL_NOT_FOUND, MODEL_FORMAT, MODEL_SHAPE or UNSUPPORTED for a checkpoint that cannot be loaded;
 *   INVALID_ARGUMENT for a name that fits several models.
 *
 * @example
 * ```ts
 * const { model, files } = await inspectCheckpoint("/models/gpt-oss-20b");
 * ```
 */
export async function inspectCheckpoint(model: string): Promise<InspectedModel> {
  const { path, ...resolved } = await resolveModel(model);
  try {
    return { ...(await addon().inspect(path)), ...resolved };
  } catch (error) {
    throw fromNative(error);
  }
}
