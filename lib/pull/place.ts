import { readlink, rm, stat } from "node:fs/promises";
import path from "node:path";
import { GptOssError } from "../errors.js";
import { readChecksums, writeChecksums } from "./checksums.js";
import { MadeFolders } from "./made-folders.js";
import type { RemoteFile } from "./remote-file.js";
import { replaceEntry, replaceFile } from "./replace-file.js";
import type { Digests } from "./transfer.js";

type MakeLink = (target: string, link: string) => Promise<void>;

/** Where a model is put. */
export interface Place {
  /** The folder in which the files have their names. */
  readonly folder: string;
  /** The folder for files that are not complete. */
  readonly partials: string;
  /** Makes the folders. @throws GptOssError for a place that cannot be written */
  prepare(): Promise<void>;
  /** Called when a download failed: removes the folders that `prepare` made and that are empty. */
  abandon(): Promise<void>;
  /** The path for the bytes of a file. */
  target(file: RemoteFile): string;
  /** Called when the bytes of all files are there. */
  finish(files: readonly RemoteFile[], digests: ReadonlyMap<string, Digests>): Promise<void>;
}

/**
 * The Hugging Face cache in the layout of huggingface_hub (its guide "Understand caching"): `blobs/<hash>`, links to
 * them in `snapshots/<commit>`, and `refs/<revision>` with the commit.
 */
export class CachePlace implements Place {
  readonly #repository: string;
  readonly #revision: string;
  readonly #commit: string;
  readonly #symlink: MakeLink;
  readonly #made = new MadeFolders();
  readonly folder: string;
  readonly partials: string;

  constructor(
    cache: string,
    { repository, revision, commit }: { repository: string; revision: string; commit: string },
    symlink: MakeLink,
  ) {
    this.#symlink = symlink;
    this.#repository = path.join(cache, cachedName(repository));
    this.#revision = revision;
    this.#commit = commit;
    this.folder = path.join(this.#repository, "snapshots", commit);
    this.partials = path.join(this.#repository, ".gpt-oss");
  }

  /** Links are tried before anything is downloaded. */
  async prepare(): Promise<void> {
    for (const folder of [this.partials, path.join(this.#repository, "blobs"), this.folder]) {
      await this.#made.make(folder);
    }
    const probe = path.join(this.#repository, `.link-${process.pid}-${Math.random().toString(36).slice(2)}`);
    try {
      await this.#symlink("blobs", probe);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const message = `Symbolic links, of which the Hugging Face cache is made, are refused in ${this.#repository} (${code}); name another folder with dir (--dir) for plain files`;
      throw new GptOssError("UNSUPPORTED", message, { cause: error });
    }
    await rm(probe, { force: true });
  }

  abandon(): Promise<void> {
    return this.#made.removeEmpty();
  }

  target({ hash }: RemoteFile): string {
    return path.join(this.#repository, "blobs", hash);
  }

  async finish(files: readonly RemoteFile[]): Promise<void> {
    for (const file of files) await this.#link(file);
    if (this.#revision === this.#commit) return;
    await replaceFile(path.join(this.#repository, "refs", this.#revision), this.#commit);
  }

  async #link(file: RemoteFile): Promise<void> {
    const link = path.join(this.folder, file.name);
    const wanted = path.relative(path.dirname(link), this.target(file));
    if ((await readlink(link).catch(() => null)) === wanted) return;
    await replaceEntry(link, (temporary) => this.#symlink(wanted, temporary));
  }
}

/** A plain folder, with a record of its checksums. */
export class FolderPlace implements Place {
  readonly #made = new MadeFolders();
  readonly folder: string;
  readonly partials: string;

  constructor(folder: string) {
    this.folder = folder;
    this.partials = path.join(folder, ".gpt-oss");
  }

  async prepare(): Promise<void> {
    for (const folder of [this.folder, this.partials]) await this.#made.make(folder, "dir");
  }

  abandon(): Promise<void> {
    return this.#made.removeEmpty();
  }

  target({ name }: RemoteFile): string {
    return path.join(this.folder, name);
  }

  /** Lines of earlier calls stay, where their files are still there. */
  async finish(_files: readonly RemoteFile[], digests: ReadonlyMap<string, Digests>): Promise<void> {
    const sums = new Map<string, string>();
    for (const [name, hash] of (await readChecksums(this.folder).catch(() => null)) ?? []) {
      if ((await sizeOf(path.join(this.folder, name))) !== null) sums.set(name, hash);
    }
    for (const [name, { sha256 }] of digests) sums.set(name, sha256);
    await writeChecksums(this.folder, sums);
  }
}

/** The folder of a repository in the cache. */
export function cachedName(repository: string): string {
  return `models--${repository.replaceAll("/", "--")}`;
}

/** The size of a regular file, through links; null where there is none. */
export async function sizeOf(file: string): Promise<number | null> {
  const found = await stat(file).catch(() => null);
  return found?.isFile() ? found.size : null;
}
