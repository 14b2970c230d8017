import path from "node:path";
import { GptOssError } from "../errors.js";
import { list, readText } from "./disk.js";
import { ggufArchitecture } from "./gguf-architecture.js";
import { allCachedRepositories, commitOf, snapshotsOf } from "./hugging-face.js";
import { lmStudioRepositories } from "./lm-studio.js";
import { few, isAdapterFolder, type ModelFiles, modelsIn } from "./model-files.js";
import { openManifest } from "./ollama.js";
import { allManifests, shortName } from "./ollama-name.js";
import { otherModelOfConfig, otherModelOfGguf } from "./other-model.js";
import { type ModelPlaces, modelPlaces } from "./places.js";
import type { ModelSource } from "./types.js";

/** A model that another program keeps on this machine. */
export interface FoundModel {
  /** The name to load it by. The path, where another place has a model of the same name before it. */
  name: string;
  /** Where it was found. */
  source: ModelSource;
  /** The folder or file for the loader; null where it is not complete. */
  path: string | null;
  /** The size of its weight files, in bytes. */
  bytes: number;
  /** The format of its files. */
  format: "safetensors" | "mlx" | "gguf";
  /** Why it cannot be loaded. Null: nothing is known against it. */
  problem: string | null;
}

/**
 * Lists the gpt-oss models in the Hugging Face cache, in LM Studio's folder and in Ollama's folder. Models of other
 * architectures are left out. Nothing is written; of a file, the first bytes are read at most. Each folder is read up to
 * a bound of 4096 entries.
 *
 * @throws GptOssError RESOURCE_LIMIT when the process may not open more files
 *
 * @example
 * ```ts
 * for (const { name, source, bytes } of await listModels()) console.log(name, source, bytes);
 * ```
 */
export async function listModels(): Promise<FoundModel[]> {
  return listIn(await modelPlaces());
}

export async function listIn({ huggingFace, lmStudio, ollama }: ModelPlaces): Promise<FoundModel[]> {
  const found = huggingFace === null ? [] : await inCache(huggingFace);
  if (lmStudio !== null) found.push(...(await ofLmStudio(lmStudio)));
  for (const models of ollama) found.push(...(await ofOllama(models)));
  const seen = new Set<string>();
  return found.map((model) => {
    const key = model.name.toLowerCase();
    const isHidden = seen.has(key) && model.path !== null;
    if (model.problem === null) seen.add(key);
    return isHidden ? { ...model, name: model.path! } : model;
  });
}

async function inCache(cache: string): Promise<FoundModel[]> {
  const found: FoundModel[] = [];
  for (const { repository, folder } of await allCachedRepositories(cache)) {
    const commits = await snapshotsOf(folder);
    if (commits.length === 0 && isLikely(repository)) found.push(begun(repository));
    const main = commits.length === 0 ? null : await commitOf(folder, "main");
    for (const commit of commits) {
      const isDefault = commit === main || (main === null && commits.length === 1);
      const name = isDefault ? repository : `${repository}@${commit}`;
      const snapshot = path.join(folder, "snapshots", commit);
      const models = await inFolder("huggingface-cache", snapshot, name);
      found.push(...models);
      if (models.length === 0 && (await isBegun(snapshot, repository))) found.push(begun(name));
    }
  }
  return found;
}

/** Whether a snapshot without weights is that of a gpt-oss model. */
async function isBegun(snapshot: string, repository: string): Promise<boolean> {
  const { names } = await list(snapshot);
  if (isAdapterFolder(names) || (await modelsIn(snapshot)).length > 0) return false;
  const config = await configOf(snapshot);
  return config === null ? isLikely(repository) : config.model_type === "gpt_oss";
}

/** A model of the cache whose download has not come to the weights. */
function begun(name: string): FoundModel {
  const format = /-gguf(@|$)/i.test(name) ? "gguf" : "safetensors";
  return { name, source: "huggingface-cache", path: null, bytes: 0, format, problem: "incomplete: weights missing" };
}

async function ofLmStudio(models: string): Promise<FoundModel[]> {
  const found: FoundModel[] = [];
  for (const repository of (await lmStudioRepositories(models)).repositories) {
    found.push(...(await inFolder("lm-studio", path.join(models, repository), repository)));
  }
  return found;
}

/** The models of one folder; with several ones, each GGUF file needs its own name. */
async function inFolder(source: ModelSource, folder: string, name: string): Promise<FoundModel[]> {
  const models = await modelsIn(folder);
  const found: FoundModel[] = [];
  for (const model of models) {
    const { file, bytes, missing } = model;
    const format = await formatOf(folder, model);
    if (format === null) continue;
    const problem = missing.length === 0 ? null : `incomplete: ${few(missing)} missing`;
    const full = file === null || models.length === 1 ? name : `${name}:${file}`;
    found.push({ name: full, source, path: problem === null ? model.path : null, bytes, format, problem });
  }
  return found;
}

/** @returns null for a model that is not gpt-oss */
async function formatOf(folder: string, model: ModelFiles): Promise<FoundModel["format"] | null> {
  if (model.format === "gguf") return (await isOtherGguf(model.path)) ? null : "gguf";
  const config = await configOf(folder);
  if (otherModelOfConfig(config) !== null) return null;
  return config?.model_type === undefined || config.quantization === undefined ? "safetensors" : "mlx";
}

const mostConfigBytes = 2 ** 20;

async function configOf(folder: string): Promise<{ model_type?: unknown; quantization?: unknown } | null> {
  const read = await readText(path.join(folder, "config.json"), mostConfigBytes);
  try {
    return "text" in read ? (JSON.parse(read.text) as { model_type?: unknown }) : null;
  } catch {
    return null;
  }
}

async function isOtherGguf(file: string): Promise<boolean> {
  return otherModelOfGguf(await ggufArchitecture(file)) !== null;
}

async function ofOllama(models: string): Promise<FoundModel[]> {
  const found: FoundModel[] = [];
  for (const { name, manifest } of await allManifests(models)) {
    const model = { name: shortName(name), source: "ollama", format: "gguf" } as const;
    try {
      const sought = await openManifest(models, manifest, name);
      if ("found" in sought && !(await isOtherGguf(sought.found.path))) {
        found.push({ ...model, path: sought.found.path, bytes: sought.found.bytes, problem: null });
      }
      if ("incomplete" in sought && isLikely(model.name)) {
        found.push({ ...model, path: null, bytes: 0, problem: sought.incomplete.message });
      }
    } catch (error) {
      if (!(error instanceof GptOssError) || !/^(MODEL_FORMAT|UNSUPPORTED)$/.test(error.code)) throw error;
      if (isLikely(model.name)) found.push({ ...model, path: null, bytes: 0, problem: error.message });
    }
  }
  return found;
}

/** Without its weights, only the name says what a model is. */
const isLikely = (name: string) => /gpt-?oss/i.test(name);
