import path from "node:path";
import { invalidArgument } from "../errors.js";
import { isFile, isFolder, list, look, mostEntries, readText } from "./disk.js";

/** The models in one folder, found by the names of their files. The files themselves are not opened. */

export interface ModelFiles {
  /** For the loader: the folder of a checkpoint, or the first file of a GGUF model. */
  path: string;
  format: "safetensors" | "gguf";
  /** The GGUF file within the folder, as it can be selected; null for the checkpoint of the folder itself. */
  file: string | null;
  /** The size of all weight files that are there. */
  bytes: number;
  /** Files of the model that are not there. */
  missing: string[];
}

const mostIndexBytes = 16 * 2 ** 20;
const mostSubfolders = 64;

/** The models in a folder: the checkpoint first, then GGUF files by name, those of its subfolders too. */
export async function modelsIn(folder: string): Promise<ModelFiles[]> {
  const { names } = await list(folder);
  const checkpoint = (await checkpointIn(folder, names)) ?? (await originalIn(folder, names));
  return [...(checkpoint === null ? [] : [checkpoint]), ...(await ggufIn(folder, names))];
}

/**
 * The model in a folder that a name means: its checkpoint, its only GGUF file, or the one that `selection` names.
 *
 * @param named the full name with another selection, for the error
 * @returns null where there is none
 * @throws GptOssError INVALID_ARGUMENT where there are several, or none of this selection
 */
export async function modelIn(
  folder: string,
  selection: string | null,
  named: (selection: string) => string,
): Promise<ModelFiles | null> {
  const models = await modelsIn(folder);
  const files = models.filter(({ file }) => file !== null);
  const matching = selection === null ? models : files.filter(({ file }) => isSelected(file!, selection));
  if (matching[0] === undefined && selection === null) return null;
  if (matching.length === 1 || matching[0]?.file === null) return matching[0]!;
  const choices = (matching.length > 0 ? matching : files).map(({ file }) => named(file!));
  const expected = choices.length === 0 ? "a name without a file: no GGUF file is there" : oneOf(choices);
  throw invalidArgument("the model", expected, selection === null ? named("").slice(0, -1) : named(selection), "model");
}

const mostNames = 12;

/** Names for a message, a dozen at most. */
export function few(names: readonly string[]): string {
  const more = names.length > mostNames ? ` (${names.length - mostNames} more are not shown)` : "";
  return names.slice(0, mostNames).join(", ") + more;
}

export const oneOf = (names: readonly string[]) => `one of ${few(names)}`;

/** A file by its whole path, its name, its name without the ending, or its quantization. */
export function isSelected(file: string, selection: string): boolean {
  const wanted = selection.toLowerCase();
  const base = path.posix.basename(file).toLowerCase();
  const stem = base.replace(/(-\d{5}-of-\d{5})?\.gguf$/, "");
  if ([file.toLowerCase(), base, stem].includes(wanted)) return true;
  return stem.endsWith(wanted) && /[-._]/.test(stem.at(-wanted.length - 1) ?? "");
}

/** Whether a folder with these names has a LoRA adapter, and nothing that a model could be. */
export function isAdapterFolder(names: readonly string[]): boolean {
  const isOfModel = (name: string) => name === "config.json" || name === "original" || isWeightsFile(name);
  return names.includes("adapter_config.json") && !names.some(isOfModel);
}

/** The order in which the loader looks for weights (`native/loader/locate.cpp`). */
async function checkpointIn(folder: string, names: readonly string[]): Promise<ModelFiles | null> {
  if (isAdapterFolder(names)) return null;
  const weights = names.filter((name) => name.endsWith(".safetensors") && !name.startsWith("."));
  const index = "model.safetensors.index.json";
  let wanted = weights;
  if (names.includes("model.safetensors")) wanted = ["model.safetensors"];
  else if (names.includes(index)) wanted = (await shardsOf(path.join(folder, index))) ?? [...weights, index];
  else if (weights.length === 0) return null;
  // A part of a set that has no index: the index was not loaded yet.
  else if (weights.every((name) => /-\d{5}-of-\d{5}\.safetensors$/.test(name))) wanted = [...weights, index];
  return { path: folder, format: "safetensors", file: null, ...(await measured(folder, ["config.json", ...wanted])) };
}

/** OpenAI's own layout, in the subfolder where its repositories have it. */
async function originalIn(folder: string, names: readonly string[]): Promise<ModelFiles | null> {
  if (!names.includes("original")) return null;
  const inner = path.join(folder, "original");
  const found = await checkpointIn(inner, (await list(inner)).names);
  return found && { ...found, path: folder, missing: found.missing.map((name) => `original/${name}`) };
}

/** @returns null where the index cannot be read: the loader says what is wrong with it */
async function shardsOf(index: string): Promise<string[] | null> {
  const read = await readText(index, mostIndexBytes);
  if (!("text" in read)) return null;
  try {
    const { weight_map: map } = JSON.parse(read.text) as { weight_map?: Record<string, unknown> };
    const shards = new Set(Object.values(map ?? {}).filter((name) => typeof name === "string"));
    return [...shards].sort().slice(0, mostEntries);
  } catch {
    return null;
  }
}

async function ggufIn(folder: string, names: readonly string[]): Promise<ModelFiles[]> {
  const files = names.filter(isWeightsFile);
  const isNoFolder = /^\.|^original$|^metal$|\.(gguf|json|jinja|md|safetensors|txt)$/i;
  for (const name of names.filter((each) => !isNoFolder.test(each)).slice(0, mostSubfolders)) {
    if (!(await isFolder(path.join(folder, name)))) continue;
    const inner = (await list(path.join(folder, name))).names.filter(isWeightsFile);
    files.push(...inner.map((each) => `${name}/${each}`));
  }
  const models: ModelFiles[] = [];
  for (const parts of sets(files)) {
    const [file = ""] = parts;
    models.push({ path: path.join(folder, file), format: "gguf", file, ...(await measured(folder, parts)) });
  }
  return models;
}

/** Projectors and importance matrices lie beside weights and are none. */
function isWeightsFile(name: string): boolean {
  return /\.gguf$/i.test(name) && !/^\.|^mmproj|imatrix/i.test(name);
}

/** The files of each model: one, or all parts that the name of a part promises. */
function sets(files: readonly string[]): string[][] {
  const found = new Map<string, string[]>();
  for (const file of files) {
    const [, stem, count] = /^(.*)-\d{5}-of-(\d{5})\.gguf$/.exec(file) ?? [];
    const parts = Number(count);
    if (stem === undefined || !(parts >= 1 && parts <= 999)) found.set(file, [file]);
    else
      found.set(
        `${stem}-of-${count}`,
        Array.from({ length: parts }, (_, i) => partName(stem, i + 1, count!)),
      );
  }
  return [...found.values()].sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
}

function partName(stem: string, part: number, count: string): string {
  return `${stem}-${String(part).padStart(5, "0")}-of-${count}.gguf`;
}

async function measured(folder: string, names: readonly string[]): Promise<Pick<ModelFiles, "bytes" | "missing">> {
  let bytes = 0;
  const missing: string[] = [];
  for (const name of names) {
    const entry = await look(path.join(folder, name));
    if (entry.kind !== "file") missing.push(name);
    else if (!name.endsWith(".json")) bytes += entry.bytes;
  }
  return { bytes, missing };
}

/** Whether the folder has a `config.json`, so that it could become a checkpoint. */
export const hasConfig = (folder: string) => isFile(path.join(folder, "config.json"));
