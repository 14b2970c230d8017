import { opendir, readdir, readlink, stat } from "node:fs/promises";
import path from "node:path";
import { GptOssError } from "../errors.js";
import { checksumFile, readChecksums } from "./checksums.js";
import { type Algorithm, algorithmOf } from "./file-hash.js";
import { readSmall } from "./read-small.js";

/** A file whose right hash is known. */
export interface KnownFile {
  /** Its path in the model's folder. */
  name: string;
  path: string;
  hash: string;
  algorithm: Algorithm;
}

/** Where the hashes were found. */
export type ChecksumSource = "huggingface-cache" | "ollama" | "SHA256SUMS" | "huggingface-local-dir";

export interface KnownChecksums {
  source: ChecksumSource;
  folder: string;
  files: KnownFile[];
  /** Shards that an index names and for which no hash is known. */
  others: string[];
}

const mostFiles = 20_000;

const pullAdvice =
  '"gpt-oss pull" with its repository, --dir and this folder compares it with the hub and replaces what differs';
const advice = `${pullAdvice}; for a model of your own, "sha256sum * > ${checksumFile}" in the folder records it as it is`;

/**
 * Finds the right hashes of a model's files: they are names of blobs, or are recorded beside the files.
 *
 * @throws GptOssError MODEL_NOT_FOUND; UNSUPPORTED where no hash is known
 */
export async function knownChecksums(model: string): Promise<KnownChecksums> {
  const found = await stat(model).catch((cause: NodeJS.ErrnoException) => {
    throw new GptOssError("MODEL_NOT_FOUND", `Expected a model at ${model}, found nothing (${cause.code})`, { cause });
  });
  const blob = await blobOf(model, path.basename(model));
  if (blob !== null) return blob;
  const folder = found.isDirectory() ? model : path.dirname(model);
  const known = (await inCache(folder)) ?? (await recorded(folder)) ?? (await localDir(folder));
  if (known === null) {
    const message = `No checksum is known for ${model}: it lies in no Hugging Face cache, is no blob of Ollama, and has no ${checksumFile} beside it; ${advice}`;
    throw new GptOssError("UNSUPPORTED", message);
  }
  if (!found.isDirectory()) return onlyFile(known, model);
  const names = new Set(known.files.map(({ name }) => name));
  return { ...known, others: (await indexedFiles(folder)).filter((name) => !names.has(name)) };
}

/** A blob of Ollama has the name `sha256-<hash>`, one of the Hugging Face cache its hash in `blobs/`. */
async function blobOf(file: string, name: string): Promise<KnownChecksums | null> {
  const ollama = /^sha256-([0-9a-f]{64})$/.exec(name)?.[1];
  const isHub = algorithmOf(name) !== null && path.basename(path.dirname(file)) === "blobs";
  const hash = ollama ?? (isHub ? name : undefined);
  if (hash === undefined || !(await stat(file)).isFile()) return null;
  const algorithm = algorithmOf(hash)!;
  const source = ollama === undefined ? "huggingface-cache" : "ollama";
  return { source, folder: path.dirname(file), files: [{ name, path: file, hash, algorithm }], others: [] };
}

/** A snapshot has links whose targets are named by their hashes. */
async function inCache(folder: string): Promise<KnownChecksums | null> {
  const files: KnownFile[] = [];
  for (const { name, isLink } of await filesIn(folder)) {
    if (!isLink) continue;
    const file = path.join(folder, name);
    const hash = path.basename(await readlink(file));
    const algorithm = algorithmOf(hash);
    if (algorithm !== null) files.push({ name, path: file, hash, algorithm });
  }
  return files.length === 0 ? null : { source: "huggingface-cache", folder, files, others: [] };
}

async function recorded(folder: string): Promise<KnownChecksums | null> {
  const sums = await readChecksums(folder);
  if (sums === null || sums.size === 0) return null;
  const files = [...sums].map(
    ([name, hash]): KnownFile => ({ name, path: path.join(folder, name), hash, algorithm: "sha256" }),
  );
  return { source: "SHA256SUMS", folder, files, others: [] };
}

/** `hf download --local-dir` writes `NAME.metadata` for each file: the commit, the hash and the time, in three lines. */
async function localDir(folder: string): Promise<KnownChecksums | null> {
  const records = path.join(folder, ".cache", "huggingface", "download");
  const files: KnownFile[] = [];
  for (const { name: record } of await filesIn(records).catch(() => [])) {
    if (!record.endsWith(".metadata")) continue;
    const name = record.slice(0, -".metadata".length);
    const [, etag = ""] = ((await readSmall(path.join(records, record))) ?? "").split("\n");
    const hash = etag.trim();
    const algorithm = algorithmOf(hash);
    if (algorithm !== null) files.push({ name, path: path.join(folder, name), hash, algorithm });
  }
  return files.length === 0 ? null : { source: "huggingface-local-dir", folder, files, others: [] };
}

/** The parts of a split file belong together. */
function onlyFile(known: KnownChecksums, model: string): KnownChecksums {
  const name = path.basename(model);
  const split = /^(.*)-\d{5}-of-(\d{5}\.gguf)$/.exec(name);
  const isPart = (file: string) =>
    split === null ? file === name : file.startsWith(`${split[1]}-`) && file.endsWith(`-of-${split[2]}`);
  const files = known.files.filter((file) => isPart(file.name));
  if (files.length > 0) return { ...known, files };
  const message = `No checksum is known for ${model}: the record of its folder does not name it; ${pullAdvice}`;
  throw new GptOssError("UNSUPPORTED", message);
}

/** Regular files and links below a folder, sorted. Links to folders are not followed. */
async function filesIn(folder: string): Promise<{ name: string; isLink: boolean }[]> {
  const found: { name: string; isLink: boolean }[] = [];
  const folders = [""];
  for (let at = folders.shift(); at !== undefined; at = folders.shift()) {
    for await (const entry of await opendir(path.join(folder, at))) {
      const name = path.posix.join(at, entry.name);
      if (entry.isDirectory() && at.split("/").length < 8) folders.push(name);
      else if (entry.isFile() || entry.isSymbolicLink()) found.push({ name, isLink: entry.isSymbolicLink() });
      if (found.length + folders.length > mostFiles) {
        throw new GptOssError("UNSUPPORTED", `${folder} has more than ${mostFiles} files, so it is no model`);
      }
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The shards that the model's index names: one that is missing has no link or record. */
async function indexedFiles(folder: string): Promise<string[]> {
  const indexes = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".safetensors.index.json"));
  const names = new Set<string>();
  for (const index of indexes) {
    try {
      const { weight_map: map } = JSON.parse((await readSmall(path.join(folder, index))) ?? "{}") as {
        weight_map?: Record<string, unknown>;
      };
      for (const name of Object.values(map ?? {})) if (typeof name === "string") names.add(name);
    } catch {
      // A damaged index has a wrong hash, and is reported with it.
    }
  }
  return [...names].sort();
}
