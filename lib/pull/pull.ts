import { throwIfAborted } from "../common/abort.js";
import { Connection } from "./connection.js";
import { downloadError } from "./failure.js";
import { hubSettings } from "./hub-settings.js";
import { type Machine, thisMachine } from "./machine.js";
import { ModelPull } from "./model-pull.js";
import { type CheckedPullOptions, type PullOptions, readPullOptions } from "./options.js";
import { Progress } from "./progress.js";
import type { PulledModel } from "./pulled-model.js";

/**
 * Downloads a model from the Hugging Face hub, checks every file by its hash, and repairs files that are damaged.
 *
 * A call that is stopped or fails keeps what has arrived; the next call goes on from there. The variables `HF_ENDPOINT`,
 * `HF_TOKEN`, `HF_HUB_CACHE`, `HF_HOME`, `HF_HUB_OFFLINE`, `HTTPS_PROXY` and `NO_PROXY` are honoured.
 *
 * @throws GptOssError DOWNLOAD for what the network or the hub refuses; MODEL_NOT_FOUND for a repository or revision
 *   that does not exist; RESOURCE_LIMIT for a disk without room; INVALID_ARGUMENT; UNSUPPORTED for a repository without
 *   weights that this package loads, or of another model; MODEL_FORMAT for a config that is no JSON object. The reason of `signal` after an abort.
 *
 * @example
 * ```ts
 * import { pullModel } from "gpt-oss-node";
 *
 * const { path, commit } = await pullModel({ repository: "openai/gpt-oss-20b" });
 * ```
 */
export async function pullModel(options: PullOptions): Promise<PulledModel> {
  return pullOn(thisMachine(), readPullOptions(options));
}

/** @param refuse throws for files that the caller does not want, before one of them is fetched */
export async function pullOn(
  machine: Machine,
  options: CheckedPullOptions,
  refuse: (names: readonly string[]) => void = () => {},
): Promise<PulledModel> {
  const settings = await hubSettings(machine.env);
  if (settings.isOffline) {
    throw downloadError("HF_HUB_OFFLINE is set, so nothing is downloaded; remove it from the environment to pull");
  }
  const progress = new Progress(options.onProgress, options.signal);
  const connection = await Connection.open(settings, machine.limits);
  try {
    throwIfAborted(progress.signal);
    return await new ModelPull(machine, options, settings, connection, progress).run(refuse);
  } finally {
    await connection.close();
    progress.close();
  }
}
