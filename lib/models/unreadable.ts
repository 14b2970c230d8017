import path from "node:path";
import { list, noListing } from "./disk.js";
import { type ModelPlaces, modelPlaces } from "./places.js";
import type { ModelSource } from "./types.js";

/** A folder of another program that a search for models cannot look into. */
export interface UnreadableFolder {
  source: ModelSource;
  path: string;
  /** What was found, in words. */
  problem: string;
}

/** Folders that are named at most. */
const mostFolders = 64;

/** The folders that `listModels` passes over because they cannot be read. Folders that are not there are none of them. */
export async function unreadableFolders(): Promise<UnreadableFolder[]> {
  return unreadableIn(await modelPlaces());
}

/** Which folders matter below a folder. */
interface Level {
  isWanted(name: string): boolean;
  below: Level | null;
}

const isVisible = (name: string) => !name.startsWith(".");
const named = (names: RegExp, below: Level | null): Level => ({ isWanted: (name) => names.test(name), below });
const all = (below: Level | null): Level => ({ isWanted: isVisible, below });

const hubLevels = named(/^models--/, named(/^snapshots$/, all(null)));
const studioLevels = all(all(null));
const ollamaLevels = named(/^(manifests|manifests-v2|blobs)$/, all(all(all(null))));

export async function unreadableIn({ huggingFace, lmStudio, ollama }: ModelPlaces): Promise<UnreadableFolder[]> {
  const found: UnreadableFolder[] = [];
  if (huggingFace !== null) await walk("huggingface-cache", huggingFace, hubLevels, found);
  if (lmStudio !== null) await walk("lm-studio", lmStudio, studioLevels, found);
  for (const models of ollama) await walk("ollama", models, ollamaLevels, found);
  return found;
}

/** A file below a place is no fault; a place that is a file is one. */
async function walk(
  source: ModelSource,
  folder: string,
  level: Level | null,
  found: UnreadableFolder[],
  isPlace = true,
) {
  if (found.length >= mostFolders) return;
  const { names, problem } = await list(folder);
  if (problem !== null && problem !== noListing.absent && (isPlace || problem !== noListing.file)) {
    found.push({ source, path: folder, problem });
  }
  if (level === null) return;
  for (const name of names.filter(level.isWanted)) {
    await walk(source, path.join(folder, name), level.below, found, false);
  }
}
