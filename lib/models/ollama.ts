import path from "node:path";
import { GptOssError } from "../errors.js";
import { look, readText } from "./disk.js";
import { manifestOf, type OllamaName, shortName } from "./ollama-name.js";
import { noSuchFolder, noSuchModel, type Sought } from "./sought.js";
import type { Located } from "./types.js";

/**
 * Ollama's folder of models: the manifest of a name lists layers by their digests, and `blobs/sha256-DIGEST` has each
 * layer. After `manifest/manifest.go` of ollama, which since 0.40 also has lists with a manifest for each runner.
 */

const mostManifestBytes = 4 * 2 ** 20;
const mediaType = "application/vnd.ollama.image.";
const listType = "application/vnd.ollama.manifest.list.v2+json";

interface Layer {
  mediaType: string;
  digest: string;
  size: number;
}

/** Searches one folder of Ollama. @throws GptOssError for a model that is there and cannot be used */
export async function inOllama(models: string, name: OllamaName): Promise<Sought> {
  const folder = await look(models);
  if (folder.kind === "absent") return { absent: noSuchFolder };
  if (folder.kind !== "folder") return { absent: folder.found };
  const manifest = await manifestOf(models, name);
  if (manifest === null) return { absent: noSuchModel };
  return openManifest(models, manifest, name);
}

/** @throws GptOssError MODEL_FORMAT for a damaged manifest, UNSUPPORTED for layers that cannot be used */
export async function openManifest(models: string, manifest: string, name: OllamaName): Promise<Sought> {
  const layers = await layersOf(models, manifest, manifest);
  const weights = weightsOf(layers, manifest);
  const file = blobPath(models, weights.digest);
  const blob = await look(file);
  const lacks = blob.kind !== "file" ? blob.found : blob.bytes === weights.size ? null : `${blob.bytes} bytes of it`;
  if (lacks !== null) {
    const again = shortName(name);
    const message = `The model ${again} of Ollama is not complete: expected ${weights.size} bytes in ${file}, found ${lacks}; "ollama pull ${again}" loads it again`;
    return { incomplete: new GptOssError("MODEL_NOT_FOUND", message, { field: "model" }) };
  }
  const found: Located = {
    path: file,
    bytes: blob.bytes,
    details: { manifest, tag: name.tag, digest: weights.digest },
  };
  return { found };
}

/** The only layer with weights. */
function weightsOf(layers: readonly Layer[], manifest: string): Layer {
  const of = (kind: string) => layers.filter((layer) => layer.mediaType === mediaType + kind);
  const refuse = (found: string): never => {
    throw unsupported(manifest, `expected one layer of weights, found ${found}`);
  };
  if (of("adapter").length > 0) refuse("an adapter; load the model below it, and the adapter by itself");
  if (of("projector").length > 0) refuse("a projector for images, which gpt-oss does not have");
  const [weights, ...more] = of("model");
  if (weights !== undefined && more.length === 0) return weights;
  if (weights !== undefined) return refuse(`${more.length + 1}`);
  if (of("tensor").length > 0) return refuse("one for each tensor, as Ollama keeps models for MLX");
  return refuse("none; a model of Ollama's cloud has no weights on this machine");
}

/** The runners whose weights are GGUF files, the likeliest to be there first. */
const runners = ["", "ollama", "ggml", "llamacpp"];

async function layersOf(models: string, file: string, manifest: string): Promise<Layer[]> {
  const value = await readManifest(file, manifest);
  if (value.mediaType !== listType) return checkedLayers(value, manifest);
  const children = Array.isArray(value.manifests) ? (value.manifests as unknown[]).filter(isObject) : [];
  const runnerOf = ({ runner }: Record<string, unknown>) =>
    typeof (runner ?? "") === "string" ? String(runner ?? "").toLowerCase() : "no text";
  const usable = children
    .filter((child) => runners.includes(runnerOf(child)))
    .sort((a, b) => runners.indexOf(runnerOf(a)) - runners.indexOf(runnerOf(b)));
  for (const child of usable) {
    if (Array.isArray(child.layers)) return checkedLayers(child, manifest);
    const blob = isDigest(child.digest) ? blobPath(models, child.digest) : null;
    if (blob === null || (await look(blob)).kind !== "file") continue;
    const inner = await readManifest(blob, manifest);
    if (inner.mediaType !== listType) return checkedLayers(inner, manifest);
  }
  const names = children.map(runnerOf).join(", ") || "none";
  throw unsupported(manifest, `expected weights for Ollama or llama.cpp on this machine, found runners: ${names}`);
}

async function readManifest(file: string, manifest: string): Promise<Record<string, unknown>> {
  const read = await readText(file, mostManifestBytes);
  if ("problem" in read) throw damaged(manifest, `found ${read.problem}`);
  try {
    const value: unknown = JSON.parse(read.text);
    if (isObject(value)) return value;
  } catch {
    // the error below says the same
  }
  throw damaged(manifest, "found other text");
}

function checkedLayers({ layers }: Record<string, unknown>, manifest: string): Layer[] {
  if (!Array.isArray(layers)) throw damaged(manifest, "found no list of layers");
  return layers.map((layer: Partial<Layer> | null) => {
    const { mediaType, digest, size } = layer ?? {};
    const isLayer = typeof mediaType === "string" && isDigest(digest) && Number.isSafeInteger(size);
    if (!isLayer) throw damaged(manifest, `found the layer ${JSON.stringify(layer).slice(0, 200)}`);
    return { mediaType, digest, size: size! };
  });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value);

/** Only such a text becomes a path. */
const isDigest = (value: unknown): value is string =>
  typeof value === "string" && /^sha256[:-][0-9a-f]{64}$/i.test(value);

const blobPath = (models: string, digest: string) => path.join(models, "blobs", digest.toLowerCase().replace(":", "-"));

function damaged(manifest: string, found: string): GptOssError {
  const message = `${manifest}: expected a manifest of Ollama, ${found}; "ollama pull" with the model's name repairs it`;
  return new GptOssError("MODEL_FORMAT", message, { field: "model" });
}

function unsupported(manifest: string, what: string): GptOssError {
  return new GptOssError("UNSUPPORTED", `${manifest}: ${what}`, { field: "model" });
}
