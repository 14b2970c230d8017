import path from "node:path";
import { GptOssError, invalidArgument } from "../errors.js";
import { isSelected } from "../models/index.js";
import type { RemoteFile } from "./remote-file.js";
import { refuseCollisions } from "./safe-names.js";

export interface Selection {
  files: RemoteFile[];
  /** The folder of the repository that holds the model; empty: the repository itself. */
  folder: string;
  /** The file to load, where the model is one file or the first of a split one. */
  file: string | null;
}

/** Files beside the weights that are worth their size: the tokenizer of gpt-oss has 28 MB. */
const mostSmallBytes = 64 * 1024 * 1024;
const smallFile = /^[^/]+\.(json|jinja|txt|md)$|^(license|notice|readme|usage_policy)[^/]*$/i;

/**
 * Chooses the files that are needed. OpenAI's repositories hold the weights three times: in the root, in `original/`
 * and in `metal/`.
 *
 * @throws GptOssError INVALID_ARGUMENT for `wanted`, when it names no file or must name one; UNSUPPORTED where there are
 *   no weights
 */
export function selectFiles(files: readonly RemoteFile[], repository: string, wanted: string | undefined): Selection {
  const selection = wanted === undefined ? chosen(files, repository) : named(files, repository, wanted);
  refuseCollisions(selection.files.map(({ name }) => name));
  return selection;
}

function chosen(files: readonly RemoteFile[], repository: string): Selection {
  const small = files.filter(({ name, size }) => smallFile.test(name) && size <= mostSmallBytes);
  const root = files.filter(({ name }) => /^[^/]+\.safetensors$/.test(name));
  if (root.length > 0) return { files: [...small, ...root], folder: "", file: null };
  const models = ggufModels(files);
  if (models.size > 0) return onlyModel(models, repository);
  const original = files.filter(({ name }) => /^original\/[^/]+\.(safetensors|json)$/.test(name));
  if (original.some(({ name }) => name.endsWith(".safetensors"))) {
    return {
      files: [...small.filter(({ name }) => !name.endsWith(".json")), ...original],
      folder: "original",
      file: null,
    };
  }
  const others = [
    ...new Set(
      files.map(({ name }) => path.posix.extname(name)).filter((end) => /^\.(bin|pt|pth|onnx|h5|msgpack)$/.test(end)),
    ),
  ];
  const found = others.length > 0 ? `; it has ${others.join(" and ")} files` : "";
  throw new GptOssError(
    "UNSUPPORTED",
    `${repository} has no .safetensors and no .gguf files, which this version loads${found}`,
  );
}

/** Files that make one model: a split one is `NAME-00001-of-00003.gguf` and so on. */
function ggufModels(files: readonly RemoteFile[]): Map<string, RemoteFile[]> {
  const models = new Map<string, RemoteFile[]>();
  for (const file of files) {
    if (!file.name.endsWith(".gguf")) continue;
    const model = file.name.replace(/-\d{5}-of-(\d{5})\.gguf$/, "-of-$1.gguf");
    models.set(model, [...(models.get(model) ?? []), file]);
  }
  return models;
}

function onlyModel(models: ReadonlyMap<string, RemoteFile[]>, repository: string): Selection {
  const mxfp4 = [...models].filter(([name]) => /mxfp4/i.test(path.posix.basename(name)));
  const likely = models.size === 1 ? [...models] : mxfp4;
  if (likely.length === 1) return ggufSelection(likely[0]![1]);
  throw severalModels(models, repository);
}

function severalModels(models: ReadonlyMap<string, RemoteFile[]>, repository: string, called = ""): GptOssError {
  const message = `${repository} has ${models.size} models${called}; choose one with file (--file): ${listed(models)}`;
  return new GptOssError("INVALID_ARGUMENT", message, { field: "file" });
}

function named(files: readonly RemoteFile[], repository: string, wanted: string): Selection {
  const models = ggufModels(files);
  const found = [...models].filter(([, parts]) => parts.some(({ name }) => isSelected(name, wanted)));
  const [first] = found;
  if (found.length === 1) return ggufSelection(first![1]);
  if (found.length > 1) throw severalModels(new Map(found), repository, ` called ${JSON.stringify(wanted)}`);
  const there = models.size === 0 ? "it has none" : `it has ${listed(models)}`;
  throw invalidArgument("file", `the name of a .gguf file of ${repository} (${there})`, wanted);
}

function ggufSelection(parts: readonly RemoteFile[]): Selection {
  const files = [...parts].sort((a, b) => (a.name < b.name ? -1 : 1));
  const first = files[0]!.name;
  const count = Number(/-of-(\d{5})\.gguf$/.exec(first)?.[1] ?? files.length);
  if (count !== files.length) {
    throw new GptOssError("MODEL_FORMAT", `${first}: expected ${count} parts in the repository, found ${files.length}`);
  }
  return { files, folder: path.posix.dirname(first).replace(/^\.$/, ""), file: first };
}

const mostListed = 12;

/** The first file of each model, at most twelve. */
function listed(models: ReadonlyMap<string, RemoteFile[]>): string {
  const names = [...models.values()].map((parts) => parts.map(({ name }) => name).sort()[0]!);
  const more = names.length > mostListed ? ` and ${names.length - mostListed} more` : "";
  return names.sort().slice(0, mostListed).join(", ") + more;
}
