import { existsSync } from "node:fs";
import path from "node:path";
import { checkSignal, throwIfAborted } from "../common/abort.js";
import { readOptions } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { type ResolvedModel, repositoryName, repositoryToPull, resolveModel } from "../models/index.js";
import { readError } from "./disk-errors.js";
import { type HashTask, hashFiles } from "./hash-files.js";
import { hubCacheFolder } from "./hub-settings.js";
import { type ChecksumSource, type KnownFile, knownChecksums } from "./known-checksums.js";
import { isRepositoryName, isRevision, type TransferProgress } from "./options.js";
import { cachedName, sizeOf } from "./place.js";
import { Progress } from "./progress.js";
import { readSmall } from "./read-small.js";

/** Options of `verifyModel`. */
export interface VerifyOptions {
  /** Called some times in a second. An exception ends the work, and `verifyModel` rejects with it. */
  onProgress?: ((progress: TransferProgress) => void) | undefined;
  /** Stops the work. */
  signal?: AbortSignal | undefined;
}

/** What `verifyModel` found. */
export interface VerifiedModel {
  /** The folder with the files. */
  folder: string;
  /** Where the right hashes were found: names of blobs, or a record beside the files. */
  source: ChecksumSource;
  /** Every file whose right hash is known, and every one that the model's index names. */
  files: VerifiedFile[];
  /** Whether all files are whole. */
  isWhole: boolean;
}

/** A file that `verifyModel` has looked at. */
export interface VerifiedFile {
  /** Its path in the folder. */
  name: string;
  /** Its size in bytes; null for a missing one. */
  bytes: number | null;
  /** `"unreadable"`: the system refuses to read it. `"unknown"`: no right hash is known for it. */
  state: "whole" | "damaged" | "missing" | "unreadable" | "unknown";
  /** The right hash; null where none is known. */
  expected: string | null;
  /** The hash of the file; null where it could not be read. */
  found: string | null;
}

const known = new Set(["onProgress", "signal"]);

/**
 * Hashes the files of a model again and compares them with the hashes that they had when they were published. It works
 * offline and changes nothing. `pullModel` repairs the files that are damaged.
 *
 * @param model a folder or file, or the name of a model on this machine, such as `"openai/gpt-oss-20b"`
 * @throws GptOssError MODEL_NOT_FOUND; UNSUPPORTED for a model without known hashes. The reason of `signal` after an abort.
 *
 * @example
 * ```ts
 * import { verifyModel } from "gpt-oss-node";
 *
 * const { isWhole, files } = await verifyModel("openai/gpt-oss-20b");
 * const damaged = files.filter(({ state }) => state !== "whole");
 * ```
 */
export async function verifyModel(model: string, options: VerifyOptions = {}): Promise<VerifiedModel> {
  const { onProgress = () => {}, signal } = readOptions("verifyModel", options, known, "VerifyOptions");
  if (typeof model !== "string" || model === "" || model.includes("\0")) {
    throw invalidArgument("the model", "a folder, a file or a repository", model, "model");
  }
  if (typeof onProgress !== "function") throw invalidArgument("onProgress", "a function", onProgress);
  checkSignal(signal);
  const progress = new Progress(onProgress, signal);
  try {
    return await verified(await locate(model), progress);
  } catch (error) {
    throw progress.signal.aborted ? progress.signal.reason : readError(error, model);
  } finally {
    progress.close();
  }
}

async function verified(model: string, progress: Progress): Promise<VerifiedModel> {
  const { source, folder, files, others } = await knownChecksums(model);
  const tasks: (HashTask & { known: KnownFile })[] = [];
  const results = new Map<string, VerifiedFile>();
  for (const file of files) {
    const size = await sizeOf(file.path);
    results.set(file.name, { name: file.name, bytes: size, state: "missing", expected: file.hash, found: null });
    if (size !== null) tasks.push({ file: file.path, size, algorithm: file.algorithm, known: file });
  }
  progress.begin(
    "check",
    tasks.reduce((sum, { size }) => sum + size, 0),
    folder,
  );
  const onBytes = (task: HashTask, bytes: number) => progress.add((task as (typeof tasks)[number]).known.name, bytes);
  await hashFiles(tasks, { signal: progress.signal, onBytes }, ({ known: { name, hash } }, outcome) => {
    const isRead = "hash" in outcome;
    const state = !isRead ? "unreadable" : outcome.hash === hash ? "whole" : "damaged";
    Object.assign(results.get(name)!, { state, found: isRead ? outcome.hash : null });
  });
  for (const name of others) {
    const bytes = await sizeOf(path.join(folder, name));
    results.set(name, { name, bytes, state: bytes === null ? "missing" : "unknown", expected: null, found: null });
  }
  progress.end();
  throwIfAborted(progress.signal);
  const all = [...results.values()];
  return { folder, source, files: all, isWhole: all.every(({ state }) => state === "whole") };
}

function located({ name, source, path: found }: ResolvedModel): string {
  const refused = (message: string) => new GptOssError("UNSUPPORTED", message, { field: "model" });
  if (source === "synthetic") throw refused(`${name} has no files that could be verified`);
  if (source !== "demo") return found;
  throw refused(
    "The demo model has no checksums: it is compared with its packed form, byte by byte, whenever it is used",
  );
}

/** As `resolveModel`, but a model in the Hugging Face cache is found also where files of it are missing. */
async function locate(model: string): Promise<string> {
  if (existsSync(model)) return path.resolve(model);
  const named = repositoryName(model);
  const name = (named && repositoryToPull(named)) ?? "";
  const revision = named?.revision ?? "main";
  const cache = hubCacheFolder(process.env);
  const repository = path.join(cache, cachedName(name));
  const isWhole = named?.selection === null && isRepositoryName(name) && isRevision(revision);
  if (!isWhole || !existsSync(repository)) return located(await resolveModel(model));
  const commit = ((await readSmall(path.join(repository, "refs", revision))) ?? revision).trim();
  const snapshot = path.join(repository, "snapshots", commit);
  if (/^[0-9a-f]{40}$/.test(commit) && existsSync(snapshot)) return snapshot;
  const message = `${repository} has no snapshot of ${revision}; "gpt-oss pull ${name}" completes it`;
  throw new GptOssError("MODEL_NOT_FOUND", message);
}
