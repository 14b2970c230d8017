import { rmdir } from "node:fs/promises";
import path from "node:path";
import { throwIfAborted } from "../common/abort.js";
import { readStart } from "../models/index.js";
import type { Connection } from "./connection.js";
import { writeError } from "./disk-errors.js";
import { refuseTooLarge } from "./disk-space.js";
import { downloadError, Refusal } from "./failure.js";
import { type HashTask, hashFiles } from "./hash-files.js";
import type { HubSettings } from "./hub-settings.js";
import { listRepository, refusedRepository } from "./listing.js";
import type { Machine } from "./machine.js";
import type { CheckedPullOptions } from "./options.js";
import { fetchPart, refuseOtherModel, type Telling, tellingPart } from "./other-model.js";
import { leftBytes, Partial } from "./partial.js";
import { CachePlace, cachedName, FolderPlace, type Place, sizeOf } from "./place.js";
import type { Progress } from "./progress.js";
import type { PulledFile, PulledModel } from "./pulled-model.js";
import type { RemoteFile, RemoteSource } from "./remote-file.js";
import { type Selection, selectFiles } from "./selection.js";
import { type Digests, transferFile } from "./transfer.js";

/** Room that the system and other programs keep on the disk. */
const spareBytes = 64 * 1000 * 1000;

/** One download: list, choose, check what is there, fetch the rest, put it in its place. */
export class ModelPull {
  readonly #machine: Machine;
  readonly #options: CheckedPullOptions;
  readonly #settings: HubSettings;
  readonly #connection: Connection;
  readonly #progress: Progress;
  readonly #digests = new Map<string, Digests>();
  readonly #states = new Map<string, PulledFile["state"]>();
  #downloadedBytes = 0;

  constructor(
    machine: Machine,
    options: CheckedPullOptions,
    settings: HubSettings,
    connection: Connection,
    progress: Progress,
  ) {
    this.#machine = machine;
    this.#options = options;
    this.#settings = settings;
    this.#connection = connection;
    this.#progress = progress;
  }

  /** @param refuse throws for files that the caller does not want */
  async run(refuse: (names: readonly string[]) => void): Promise<PulledModel> {
    const { repository, revision, dir, file } = this.#options;
    const { endpoint, cacheFolder } = this.#settings;
    const { tries, firstPauseMilliseconds } = this.#machine.limits;
    const { commit, files: all } = await listRepository({
      ...{ connection: this.#connection, endpoint, repository, revision, signal: this.#progress.signal },
      ...{
        onPause: (sentence: string) => this.#progress.note(sentence),
        tries: Math.min(3, tries),
        firstPauseMilliseconds,
      },
    });
    const selection = selectFiles(all, repository, file);
    const { files } = selection;
    refuse(files.map(({ name }) => name));
    const place =
      dir === null
        ? new CachePlace(cacheFolder, { repository, revision, commit }, this.#machine.symlink)
        : new FolderPlace(dir);
    try {
      await place.prepare();
      await this.#fetchAll({ endpoint, repository, commit }, selection, place);
      await this.#finish(files, place);
      throwIfAborted(this.#progress.signal);
    } catch (error) {
      await place.abandon();
      throw this.#progress.signal.aborted ? this.#progress.signal.reason : writeError(error, place.folder);
    } finally {
      await rmdir(place.partials).catch(() => {}); // it stays while it holds partial files
    }
    return {
      ...{ repository, revision, commit, folder: place.folder },
      path: path.join(place.folder, selection.file ?? selection.folder),
      files: files.map(({ name, size, hash }) => ({ name, bytes: size, hash, state: this.#states.get(name)! })),
      totalBytes: sumOf(files),
      downloadedBytes: this.#downloadedBytes,
    };
  }

  async #fetchAll(source: RemoteSource, selection: Selection, place: Place): Promise<void> {
    const { files } = selection;
    const damaged = await this.#check(files, place);
    const missing = files.filter(({ name }) => !this.#states.has(name));
    if (missing.length > 0) await this.#refuseOther(source, selection, place);
    await this.#refuseTooLarge(missing, place);
    this.#progress.begin("download", sumOf(files), place.folder, sumOf(files) - sumOf(missing));
    const fetch = async (file: RemoteFile) => {
      const state = await this.#fetch(source, file, place);
      this.#states.set(file.name, state === "downloaded" && damaged.has(file.name) ? "repaired" : state);
    };
    const { smallBytes, connections } = this.#machine.limits;
    const isSmall = ({ size }: RemoteFile) => size <= smallBytes;
    await severalAtOnce(missing.filter(isSmall), connections, fetch);
    await severalAtOnce(
      missing.filter((file) => !isSmall(file)),
      1,
      fetch,
    );
    this.#progress.end();
  }

  async #refuseOther(source: RemoteSource, selection: Selection, place: Place): Promise<void> {
    const telling = tellingPart(selection);
    if (telling === null) return;
    const { file, bytes } = telling;
    const isThere = this.#states.has(file.name);
    const part = isThere ? await readStart(place.target(file), bytes) : await this.#fetchPart(telling, source);
    refuseOtherModel(telling, part, source.repository);
  }

  async #fetchPart(telling: Telling, source: RemoteSource): Promise<Buffer> {
    const { signal } = this.#progress;
    const onPause = (sentence: string) => this.#progress.note(`${telling.file.name}: ${sentence}`);
    try {
      return await fetchPart(telling, source, {
        ...this.#machine.limits,
        connection: this.#connection,
        signal,
        onPause,
      });
    } catch (error) {
      throw error instanceof Refusal ? refusedFile(error, telling.file, source, this.#options.revision) : error;
    }
  }

  /** Hashes the files that are there already. @returns the names of those that are damaged */
  async #check(files: readonly RemoteFile[], place: Place): Promise<Set<string>> {
    const damaged = new Set<string>();
    const tasks: (HashTask & { remote: RemoteFile })[] = [];
    for (const remote of files) {
      const file = place.target(remote);
      const size = await sizeOf(file);
      if (size === remote.size) tasks.push({ file, size, algorithm: remote.algorithm, remote });
      else if (size !== null) damaged.add(remote.name);
    }
    if (tasks.length === 0) return damaged;
    this.#progress.begin(
      "check",
      tasks.reduce((sum, { size }) => sum + size, 0),
      place.folder,
    );
    await this.#hash(tasks, ({ remote }, hash) => {
      if (hash === remote.hash) this.#states.set(remote.name, "present");
      else damaged.add(remote.name);
    });
    return damaged;
  }

  async #hash<Task extends HashTask & { remote: RemoteFile }>(
    tasks: readonly Task[],
    onHash: (task: Task, hash: string | null) => void,
  ): Promise<void> {
    const onBytes = (task: HashTask, bytes: number) => this.#progress.add((task as Task).remote.name, bytes);
    await hashFiles(tasks, { signal: this.#progress.signal, onBytes }, (task, outcome) =>
      onHash(task, "hash" in outcome ? outcome.hash : null),
    );
  }

  async #refuseTooLarge(missing: readonly RemoteFile[], place: Place): Promise<void> {
    if (missing.length === 0) return;
    let needed = 0;
    for (const { size, hash } of missing) needed += Math.max(0, size - (await leftBytes(place.partials, hash)));
    const free = await this.#machine.freeBytes(place.folder);
    if (needed > 0) refuseTooLarge(needed + spareBytes, free, place.folder);
  }

  /** Data with another hash is thrown away, and fetched once more. */
  async #fetch(source: RemoteSource, file: RemoteFile, place: Place): Promise<PulledFile["state"]> {
    let isCopy = await this.#hasCopy(source, file, place);
    let isSecond = false;
    for (;;) {
      let waited = false;
      const onWait = (processId: number) => {
        waited = true;
        this.#progress.note(`process ${processId} downloads ${file.name}; waiting for it`);
      };
      const { signal } = this.#progress;
      const partial = await Partial.open(place.partials, file.hash, file.size, {
        signal,
        onWait,
        write: this.#machine.write,
      });
      if (waited && (await this.#isThere(file, place))) {
        await partial.discard();
        this.#progress.add(file.name, file.size);
        return "present";
      }
      if (isCopy) await kept(partial, () => partial.copyFrom(this.#cached(source, file)));
      const digests = await this.#transfer(source, file, partial);
      if (digests.hash === file.hash) {
        await kept(partial, () => partial.finish(place.target(file)));
        this.#digests.set(file.name, digests);
        return isCopy ? "copied" : "downloaded";
      }
      await partial.discard();
      this.#progress.add(file.name, -file.size);
      if (isCopy) {
        isCopy = false;
        continue;
      }
      const message = `${file.name} arrived with hash ${digests.hash}, expected ${file.hash}`;
      if (isSecond) {
        throw downloadError(
          `${message}, twice; the data was thrown away, so the server or something on the way changes it`,
        );
      }
      this.#progress.note(`${message}; it is fetched again`);
      isSecond = true;
    }
  }

  /** Where the Hugging Face cache of this machine has the file, or would have it. */
  #cached({ repository }: RemoteSource, file: RemoteFile): string {
    return path.join(this.#settings.cacheFolder, cachedName(repository), "blobs", file.hash);
  }

  async #hasCopy(source: RemoteSource, file: RemoteFile, place: Place): Promise<boolean> {
    const cached = this.#cached(source, file);
    return cached !== place.target(file) && file.size > 0 && (await sizeOf(cached)) === file.size;
  }

  async #transfer(source: RemoteSource, file: RemoteFile, partial: Partial): Promise<Digests> {
    const { limits } = this.#machine;
    const connections = file.size <= limits.smallBytes ? 1 : limits.connections;
    const { bytes } = partial.ranges;
    this.#progress.add(file.name, bytes);
    if (bytes > 0 && bytes < file.size)
      this.#progress.note(`${file.name} goes on at ${Math.floor((100 * bytes) / file.size)} %`);
    try {
      const transfer = () =>
        transferFile({
          ...{ connection: this.#connection, source, file, partial, limits: { ...limits, connections } },
          signal: this.#progress.signal,
          onBytes: (bytes) => {
            this.#downloadedBytes += Math.max(0, bytes);
            this.#progress.add(file.name, bytes);
          },
          onPause: (sentence) => this.#progress.note(`${file.name}: ${sentence}`),
        });
      return await kept(partial, transfer);
    } catch (error) {
      throw error instanceof Refusal ? refusedFile(error, file, source, this.#options.revision) : error;
    }
  }

  async #isThere(remote: RemoteFile, place: Place): Promise<boolean> {
    const { size, algorithm } = remote;
    const file = place.target(remote);
    if ((await sizeOf(file)) !== size) return false;
    let isSame = false;
    const options = { signal: this.#progress.signal, onBytes: () => {} };
    await hashFiles([{ file, size, algorithm }], options, (_, outcome) => {
      isSame = "hash" in outcome && outcome.hash === remote.hash;
    });
    return isSame;
  }

  async #finish(files: readonly RemoteFile[], place: Place): Promise<void> {
    const others: (HashTask & { remote: RemoteFile })[] = [];
    for (const remote of files) {
      if (remote.algorithm === "sha256") this.#digests.set(remote.name, { hash: remote.hash, sha256: remote.hash });
      const isHashed = this.#digests.has(remote.name) || place instanceof CachePlace;
      if (!isHashed) others.push({ file: place.target(remote), size: remote.size, algorithm: "sha256", remote });
    }
    const options = { signal: this.#progress.signal, onBytes: () => {} };
    await hashFiles(others, options, ({ remote }, outcome) => {
      if ("error" in outcome) throw outcome.error;
      this.#digests.set(remote.name, { hash: remote.hash, sha256: outcome.hash });
    });
    await place.finish(files, this.#digests);
  }
}

function refusedFile(refusal: Refusal, file: RemoteFile, { repository }: RemoteSource, revision: string): Error {
  if (refusal.status === 404 || refusal.status === 416) {
    return downloadError(
      `${file.name}: the hub lists it and does not have it any more (${refusal.status}); try again`,
      refusal,
    );
  }
  return refusedRepository(refusal, repository, revision);
}

/** A failure leaves the partial file for the next call. */
async function kept<T>(partial: Partial, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await partial.release();
    throw error;
  }
}

/** Runs `work` for all items. After the first failure no other begins, and the running ones end. */
async function severalAtOnce<T>(items: readonly T[], count: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      try {
        await work(item);
      } catch (error) {
        queue.length = 0;
        throw error;
      }
    }
  };
  const done = await Promise.allSettled(Array.from({ length: Math.min(count, items.length) }, worker));
  for (const result of done) if (result.status === "rejected") throw result.reason;
}

function sumOf(files: readonly RemoteFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}
