import { realpath } from "node:fs/promises";
import path from "node:path";
import { look } from "./disk.js";
import { modelsIn } from "./model-files.js";
import { type ModelPlaces, userCacheFolder } from "./places.js";

/** Below this size native code packs in memory by itself (`kPackedInMemory` in `native/engine/engine.cpp`). */
const packedInMemoryBytes = 2 ** 30;

/**
 * Where packed weights are kept for `packedWeights: "auto"`. Nothing is written beside a model that lies in a place of
 * another program: then it is the user's cache folder.
 */
export async function packedPlace(places: ModelPlaces, model: string): Promise<string> {
  if (!(await isOfAnother(places, model))) return "auto";
  const bytes = await weightBytes(model);
  return bytes < packedInMemoryBytes ? "memory" : (userCacheFolder() ?? "memory");
}

async function isOfAnother({ huggingFace, lmStudio, ollama }: ModelPlaces, model: string): Promise<boolean> {
  const file = await real(model);
  const roots = await Promise.all([huggingFace, lmStudio, ...ollama].filter((root) => root !== null).map(real));
  return roots.some((root) => file.startsWith(root + path.sep));
}

/** Without symbolic links: a folder itself, but of a file the folder that it is in, because a file is written beside it. */
async function real(file: string): Promise<string> {
  const isInside = (await look(file)).kind === "folder";
  const folder = isInside ? file : path.dirname(file);
  const found = await realpath(folder).catch(() => folder);
  return isInside ? found : path.join(found, path.basename(file));
}

async function weightBytes(model: string): Promise<number> {
  const entry = await look(model);
  const folder = entry.kind === "folder" ? model : path.dirname(model);
  const found = (await modelsIn(folder)).find((each) => each.path === model);
  return found?.bytes ?? entry.bytes;
}
