import path from "node:path";
import { shortened } from "../common/shortened.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { adapterIsNoModel } from "./adapter-refusal.js";
import { list, look } from "./disk.js";
import { snapshotInCache } from "./hugging-face.js";
import { isAdapterFolder } from "./model-files.js";
import { isOnlyPath, repositoryName } from "./names.js";
import { modelPlaces } from "./places.js";

/** Adapters by their names, and adapters where a model is expected. */

/**
 * Finds the adapter that a name stands for: an existing path, or a repository in the Hugging Face cache. The adapter is
 * not opened.
 *
 * @param name a path, `"owner/name"` or `"owner/name@revision"`
 * @returns a path, which need not exist where the name can only be a path
 * @throws GptOssError MODEL_NOT_FOUND for a repository that is not in the cache, INVALID_ARGUMENT for a file of one
 */
async function resolveAdapter(name: string): Promise<string> {
  return adapterIn((await modelPlaces()).huggingFace, name);
}

/** The same adapter with the path that its name stands for. @throws GptOssError as `resolveAdapter` */
export async function adapterWithPath<T extends { path: string }>(adapter: T): Promise<T> {
  return { ...adapter, path: await resolveAdapter(adapter.path) };
}

export async function adapterIn(cache: string | null, name: string): Promise<string> {
  const file = path.resolve(name);
  const repository = repositoryName(name);
  if (isOnlyPath(name) || repository === null || repository.owner === null) return file;
  const { kind, found } = await look(file);
  if (kind !== "absent" && kind !== "unreadable") return file;
  const whole = `${repository.owner}/${repository.name}`;
  if (repository.selection !== null) {
    throw invalidArgument("an adapter", `a folder or a repository without a file, such as ${whole}`, name, "adapters");
  }
  const snapshot =
    cache === null ? { absent: "this account has no home folder" } : await snapshotInCache(cache, repository);
  if ("incomplete" in snapshot) throw snapshot.incomplete;
  if ("folder" in snapshot) return snapshot.folder;
  const searched = cache === null ? snapshot.absent : `${cache}: ${snapshot.absent}`;
  const isPossible = whole === shortened(whole);
  const advice = isPossible ? `; "gpt-oss pull ${whole}" gets it if Hugging Face has it` : "";
  throw new GptOssError(
    "MODEL_NOT_FOUND",
    `Expected an adapter's folder or its repository in the Hugging Face cache, found ${found} at ${shortened(file)}, ` +
      `and no ${shortened(whole)} (${searched})${advice}`,
  );
}

/** @throws GptOssError MODEL_FORMAT where a path of a model leads to an adapter */
export async function refuseAdapter(place: string): Promise<void> {
  const isFileOfOne = ["adapter_model.safetensors", "adapter_config.json"].includes(path.basename(place));
  const folder = isFileOfOne ? path.dirname(place) : place;
  if (isAdapterFolder((await list(folder)).names)) throw await adapterIsNoModel(folder);
}
