import {
  constants,
  copyFile,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { abortReason, throwIfAborted } from "../common/abort.js";
import { makeFolder } from "../common/make-folder.js";
import { ownerOf, thisProcess } from "./owner.js";
import { type Range, Ranges } from "./ranges.js";

/** `FileHandle.writev`. */
export type WriteBytes = (file: FileHandle, parts: Buffer[], position: number) => Promise<{ bytesWritten: number }>;

/**
 * A file that is not complete yet: a folder with `data` in its full size, and `ranges`, the record of what is written.
 *
 * The name of the folder says who works on it. A process takes over a folder by renaming it, which only one can do. So
 * no lock is needed, and the folder of a process that was killed is taken over with all its ranges. huggingface_hub
 * resumes `blobs/<etag>.incomplete` by its size, so a file of full size must not have that name.
 */
export class Partial {
  readonly #folder: string;
  readonly #file: FileHandle;
  readonly #record: FileHandle;
  readonly #write: WriteBytes;
  readonly ranges: Ranges;

  private constructor(folder: string, file: FileHandle, record: FileHandle, ranges: Ranges, write: WriteBytes) {
    this.#write = write;
    this.#folder = folder;
    this.#file = file;
    this.#record = record;
    this.ranges = ranges;
  }

  /**
   * Takes over what an earlier call left of the file, or begins anew.
   *
   * @param parent the folder for all partial files of a place
   * @param hash the hash of the file, for the name
   * @param onWait called once when another process works on the same file; this call waits for it
   */
  static async open(
    parent: string,
    hash: string,
    size: number,
    { signal, onWait, write }: { signal: AbortSignal; onWait: (processId: number) => void; write: WriteBytes },
  ): Promise<Partial> {
    const mine = path.join(parent, `${hash}.${thisProcess}`);
    for (let hasTold = false; ; ) {
      throwIfAborted(signal);
      await makeFolder(parent); // a call that ends removes it when it is empty
      const found = await claim(parent, hash, mine);
      if (found === null) continue;
      if (found === "mine") {
        return await Partial.#load(mine, size, write).catch(async (error: unknown) => {
          await setFree(mine);
          throw error;
        });
      }
      if (!hasTold) onWait(found);
      hasTold = true;
      await sleep(waitMilliseconds, undefined, { signal }).catch(() => {
        throw abortReason(signal);
      });
    }
  }

  static async #load(folder: string, size: number, write: WriteBytes): Promise<Partial> {
    const file = await open(path.join(folder, "data"), constants.O_RDWR | constants.O_CREAT);
    try {
      const ranges = (await file.stat()).size === size ? await readRecord(folder, size) : null;
      const record = await open(path.join(folder, "ranges"), ranges === null ? "w" : "a");
      if (ranges === null) {
        await file.truncate(0);
        await file.truncate(size);
        await record.appendFile(`size ${size}\n`);
      } else {
        await record.appendFile("\n"); // ends a line that was cut off
      }
      return new Partial(folder, file, record, ranges ?? new Ranges(), write);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get file(): FileHandle {
    return this.#file;
  }

  /** Writes the parts one behind the other. A disk can take fewer bytes than it was given. */
  async write(parts: readonly Buffer[], position: number): Promise<void> {
    let rest = [...parts];
    for (let at = position; rest.length > 0; ) {
      const { bytesWritten } = await this.#write(this.#file, rest, at);
      at += bytesWritten;
      const left = rest.reduce((sum, { length }) => sum + length, 0) - bytesWritten;
      rest = left === 0 ? [] : [Buffer.concat(rest).subarray(-left)];
    }
  }

  /** Remembers that a range is written. A line that the end of the process cuts off names a part of the range, or none. */
  async done(range: Range): Promise<void> {
    if (range.start >= range.end) return;
    this.ranges.add(range);
    await this.#record.appendFile(`${range.start} ${range.end}\n`);
  }

  /** Fills the file from one on this machine. Where the disk can, no bytes are copied. */
  async copyFrom(source: string): Promise<void> {
    await copyFile(source, path.join(this.#folder, "data"), constants.COPYFILE_FICLONE);
    await this.done({ start: 0, end: (await this.#file.stat()).size });
  }

  /** Keeps what there is for the next call. */
  async release(): Promise<void> {
    await this.#close();
    await setFree(this.#folder);
  }

  async discard(): Promise<void> {
    await this.#close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Moves the file to its place, in one step. */
  async finish(target: string): Promise<void> {
    await this.#file.sync();
    await this.#close();
    await makeFolder(path.dirname(target));
    await rename(path.join(this.#folder, "data"), target);
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #close(): Promise<void> {
    await Promise.allSettled([this.#file.close(), this.#record.close()]);
  }
}

/** Bytes on the disk of everything that is left of earlier calls. */
export async function leftBytes(parent: string, hash: string): Promise<number> {
  const names = (await readdir(parent).catch(() => [])).filter((name) => name.startsWith(`${hash}.`));
  const sizes = names.map((name) =>
    stat(path.join(parent, name, "data")).then(
      ({ blocks }) => (blocks ?? 0) * 512,
      () => 0,
    ),
  );
  return Math.max(0, ...(await Promise.all(sizes)));
}

/** Gives the folder a name that anybody takes over. Where another one has it, that one is kept. */
async function setFree(folder: string): Promise<void> {
  const free = folder.replace(/\.[^.]*$/, ".free");
  await rename(folder, free).catch(() => rm(folder, { recursive: true, force: true }));
}

/** How often a call that waits looks again. */
const waitMilliseconds = 250;
/** An owner on another host counts as dead when its record did not change for this time. */
const silentMilliseconds = 10 * 60_000;

/** The calls of this process claim one after the other; between processes, the names of the folders keep them apart. */
let lastClaim: Promise<unknown> = Promise.resolve();

function claim(parent: string, hash: string, mine: string): Promise<"mine" | number | null> {
  const next = lastClaim.then(() => claimNow(parent, hash, mine));
  lastClaim = next.catch(() => {});
  return next;
}

/** Makes the folder ours. Otherwise it returns the process that works on the file; null: the parent was removed. */
async function claimNow(parent: string, hash: string, mine: string): Promise<"mine" | number | null> {
  const names = (await readdir(parent).catch(() => [])).filter((name) => name.startsWith(`${hash}.`));
  for (const name of names) {
    const owner = ownerOf(name.slice(hash.length + 1));
    if (owner !== null && (owner.isAlive ?? (await isRecent(path.join(parent, name))))) return owner.processId;
  }
  for (const name of names) {
    const isTaken = await rename(path.join(parent, name), mine).then(
      () => true,
      () => false, // another process was faster
    );
    if (isTaken) return "mine";
  }
  try {
    await mkdir(mine);
    return "mine";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

async function isRecent(folder: string): Promise<boolean> {
  const changed = await stat(path.join(folder, "ranges")).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  return Date.now() - changed < silentMilliseconds;
}

/** Null where there is no record for a file of this size. */
async function readRecord(folder: string, size: number): Promise<Ranges | null> {
  const text = await readFile(path.join(folder, "ranges"), "latin1").catch(() => "");
  const [head, ...lines] = text.split("\n");
  if (head !== `size ${size}`) return null;
  const ranges = new Ranges();
  for (const line of lines) {
    const match = /^(\d+) (\d+)$/.exec(line);
    if (match === null) continue;
    const range = { start: Number(match[1]), end: Number(match[2]) };
    if (range.end > size) return null;
    ranges.add(range);
  }
  return ranges;
}
