import path from "node:path";
import { checkSignal } from "../common/abort.js";
import { shortened } from "../common/shortened.js";
import { readOptions } from "../common/unknown-option.js";
import { invalidArgument } from "../errors.js";
import { repositoryName, repositoryToPull } from "../models/index.js";

/** How far a `pullModel` or a `verifyModel` is. */
export interface TransferProgress {
  /** What is done now: the list of files is read, files on the disk are hashed, or files are downloaded. */
  phase: "list" | "check" | "download";
  /** The file of the repository that the report is about; null while the list is read. */
  file: string | null;
  /** Bytes done of this phase. For a download, files and parts that were there count from the start. */
  loadedBytes: number;
  /** Bytes of the whole phase; 0 while they are not known. */
  totalBytes: number;
  /** Where the model is put; null while that is not known. */
  folder: string | null;
  /** Something that the user should know, such as a pause before another try. */
  note?: string;
}

/** Options of `pullModel`. */
export interface PullOptions {
  /**
   * A repository of the hub, `owner/name`, or its address; or `20b`, `120b`, `gpt-oss-20b`, `gpt-oss-120b` for OpenAI's.
   * `owner/name@REVISION` and `owner/name:FILE` also give `revision` and `file`.
   */
  repository: string;
  /** A branch, a tag or a commit. Default: that of `repository`, or `"main"`. */
  revision?: string | undefined;
  /** A plain folder for the files. Default: the Hugging Face cache, where Python's tools find the model, too. */
  dir?: string | undefined;
  /**
   * One `.gguf` file of the repository, or its quantization, such as `Q8_0`; the parts of a split file come with it.
   * Default: the only one, or the MXFP4 one.
   */
  file?: string | undefined;
  /** Called some times in a second, and for notes. An exception ends the download, and `pullModel` rejects with it. */
  onProgress?: ((progress: TransferProgress) => void) | undefined;
  /** Stops the download. What has arrived stays, and the next call goes on from there. */
  signal?: AbortSignal | undefined;
}

export interface CheckedPullOptions extends Omit<PullOptions, "dir"> {
  revision: string;
  /** An absolute path. */
  dir: string | null;
  onProgress: (progress: TransferProgress) => void;
}

const known = new Set(["repository", "revision", "dir", "file", "onProgress", "signal"]);

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or an invalid value */
export function readPullOptions(given: PullOptions): CheckedPullOptions {
  const options = readOptions("pullModel", given, known, "PullOptions");
  const { dir, onProgress = () => {}, signal } = options;
  const { repository, ...named } = repositoryOf(options.repository);
  const revision = onlyOne("revision", options.revision, named.revision) ?? "main";
  if (!isRevision(revision)) throw invalidArgument("revision", "a branch, a tag or a commit", revision);
  checkText("dir", "a folder", dir);
  const file = onlyOne("file", options.file, named.file);
  checkText("file", "the name of a .gguf file", file);
  if (typeof onProgress !== "function") throw invalidArgument("onProgress", "a function", onProgress);
  checkSignal(signal);
  return { repository, revision, dir: dir === undefined ? null : path.resolve(dir), file, onProgress, signal };
}

/** The hub's rules for names. Two dashes would make two repositories one folder of the cache. */
export function isRepositoryName(name: string): boolean {
  const part = /^[\w][\w.-]{0,95}$/;
  const parts = name.split("/");
  return parts.length === 2 && parts.every((one) => part.test(one)) && !/--|\.\.|\.git$/.test(name);
}

/** Reads a name as all commands do. */
function repositoryOf(given: unknown): { repository: string; revision?: string; file?: string } {
  const name = typeof given === "string" ? repositoryName(given) : null;
  const repository = name && repositoryToPull(name);
  if (name === null || repository === null || !isRepositoryName(repository)) {
    throw invalidArgument("repository", 'a repository such as "openai/gpt-oss-20b", or "20b" or "120b",', given);
  }
  const { revision, selection } = name;
  return { repository, ...(revision !== null && { revision }), ...(selection !== null && { file: selection }) };
}

/** The value of an option that the repository's name can have, too. */
function onlyOne(name: "revision" | "file", option: string | undefined, named: string | undefined): string | undefined {
  if (option === undefined || named === undefined || option === named) return option ?? named;
  throw invalidArgument(name, `what the repository's name says, ${JSON.stringify(shortened(named))},`, option);
}

/** A revision becomes a path in `refs/`. */
export function isRevision(revision: unknown): revision is string {
  return (
    typeof revision === "string" &&
    /^[\w][\w./+@-]{0,199}$/.test(revision) &&
    revision.split("/").every((part) => part !== "" && !part.startsWith(".")) &&
    !/\.(lock|new)$/.test(revision)
  );
}

function checkText(name: string, expected: string, value: unknown): void {
  const isText = typeof value === "string" && value !== "" && !value.includes("\0");
  if (value !== undefined && !isText) throw invalidArgument(name, expected, value);
}
