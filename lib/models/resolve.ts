import path from "node:path";
import { demoModelPath } from "../demo-model/index.js";
import { type GptOssError, invalidArgument } from "../errors.js";
import { refuseAdapter } from "./adapter.js";
import { look } from "./disk.js";
import { inHuggingFaceCache } from "./hugging-face.js";
import { inLmStudio } from "./lm-studio.js";
import { isOnlyPath, releasedName, repositoryName } from "./names.js";
import { modelNotFound } from "./not-found.js";
import { inOllama } from "./ollama.js";
import { ollamaName } from "./ollama-name.js";
import { packedPlace } from "./packed-place.js";
import { type ModelPlaces, modelPlaces } from "./places.js";
import { noSuchModel, type Sought } from "./sought.js";
import type { Located, ModelSource, ResolvedModel, TriedPlace } from "./types.js";

/**
 * Finds the checkpoint that a name stands for: `"demo"`, a synthetic model, a path, or a model that another program keeps
 * on this machine. An existing path comes first, then the Hugging Face cache, LM Studio and Ollama; the first place
 * that has the whole model is taken. A name that is absolute or begins with `./` is only ever a path. Nothing is
 * written, and the checkpoint is not opened.
 *
 * @param name `"20b"`, `"openai/gpt-oss-20b"`, `"owner/name@revision"`, `"owner/name:Q8_0"`, `"gpt-oss:20b"`, a path
 * @throws GptOssError MODEL_NOT_FOUND with all places that were searched, and the command that gets the model;
 *   INVALID_ARGUMENT for an empty name and for one that fits several models, which it lists; MODEL_FORMAT for a LoRA
 *   adapter; MODEL_FORMAT or UNSUPPORTED for a manifest of Ollama that cannot be used; RESOURCE_LIMIT when the process may not open more files.
 *
 * @example
 * ```ts
 * const { path, source } = await resolveModel("synthetic:tiny");
 * console.log(source); // → synthetic
 * ```
 */
export async function resolveModel(name: string): Promise<ResolvedModel> {
  return resolveIn(await modelPlaces(), name);
}

/** The checkpoint for `Engine.load`, and where its packed weights may be kept. */
export async function resolveForLoading(
  name: string,
  packedWeights: string,
): Promise<{ resolved: ResolvedModel; packedWeights: string }> {
  const places = await modelPlaces();
  const resolved = await resolveIn(places, name);
  const hasFile = resolved.source !== "synthetic" && resolved.source !== "demo";
  const isFree = packedWeights === "auto" && hasFile;
  return { resolved, packedWeights: isFree ? await packedPlace(places, resolved.path) : packedWeights };
}

export async function resolveIn(places: ModelPlaces, name: string): Promise<ResolvedModel> {
  if (typeof name !== "string" || name === "" || name.includes("\0")) {
    throw invalidArgument("the model", 'the path of a checkpoint, the name of a model, or "demo"', name, "model");
  }
  const known = (source: ModelSource, path: string): ResolvedModel => ({ name, path, source, details: {}, tried: [] });
  if (name === "demo") return known("demo", await demoModelPath());
  if (name.startsWith("synthetic:")) return known("synthetic", name);
  const file = path.resolve(name);
  const entry = await look(file);
  if (entry.kind !== "absent" && (entry.kind !== "unreadable" || isOnlyPath(name))) {
    await refuseAdapter(file);
    return known("path", file);
  }
  const tried: TriedPlace[] = [{ source: "path", place: file, outcome: entry.found, isIncomplete: false }];
  return isOnlyPath(name) ? await modelNotFound(places, name, tried) : await search(places, name, tried);
}

/** Searches the places in their order. */
async function search(places: ModelPlaces, name: string, tried: TriedPlace[]): Promise<ResolvedModel> {
  let incomplete: GptOssError | undefined;
  for (const { source, place, seek } of searches(places, name)) {
    const sought = await seek();
    if ("found" in sought) return resolved(name, source, sought.found, tried);
    const isIncomplete = "incomplete" in sought;
    if (isIncomplete) incomplete ??= sought.incomplete;
    tried.push({ source, place, outcome: isIncomplete ? sought.incomplete.message : sought.absent, isIncomplete });
  }
  if (incomplete !== undefined) throw incomplete;
  return modelNotFound(places, name, tried);
}

function resolved(name: string, source: ModelSource, found: Located, tried: TriedPlace[]): ResolvedModel {
  return { name, path: found.path, source, details: found.details, tried };
}

interface Search {
  source: ModelSource;
  place: string | null;
  seek(): Promise<Sought>;
}

function searches({ huggingFace, lmStudio, ollama }: ModelPlaces, name: string): Search[] {
  const repository = repositoryName(name);
  const short = releasedName(name);
  // Ollama has the released models by names of its own.
  const isShort = short !== null && !name.includes("/");
  const ollamaText = isShort ? short.replace(/-(\d+b)$/, ":$1") : name;
  const model = ollamaName(ollamaText);
  const noName = async (): Promise<Sought> => ({ absent: noSuchModel });
  return [
    {
      source: "huggingface-cache",
      place: huggingFace,
      seek: repository === null ? noName : () => inHuggingFaceCache(huggingFace, repository),
    },
    {
      source: "lm-studio",
      place: lmStudio,
      seek: repository === null ? noName : () => inLmStudio(lmStudio, repository),
    },
    ...ollama.map(
      (place): Search => ({ source: "ollama", place, seek: model === null ? noName : () => inOllama(place, model) }),
    ),
  ];
}
