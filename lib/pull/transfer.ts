import { setMaxListeners } from "node:events";
import { onAbort } from "../common/abort.js";
import { drop } from "./body.js";
import type { Answer, Connection } from "./connection.js";
import { downloadError, type Patience, TemporaryFailure, withTries } from "./failure.js";
import { newHash, PrefixHash } from "./file-hash.js";
import type { Partial } from "./partial.js";
import type { Range } from "./ranges.js";
import { addressOf, type RemoteFile, type RemoteSource } from "./remote-file.js";

export interface TransferLimits extends Patience {
  /** Ranges of one file that are fetched at the same time. */
  connections: number;
  rangeBytes: number;
}

export interface TransferOptions {
  connection: Connection;
  source: RemoteSource;
  file: RemoteFile;
  partial: Partial;
  limits: TransferLimits;
  signal: AbortSignal;
  /** Called with the bytes that came; negative when some are fetched again. */
  onBytes: (bytes: number) => void;
  onPause: (sentence: string) => void;
}

export interface Digests {
  /** The hash of the file's algorithm. */
  hash: string;
  sha256: string;
}

/** After so many bytes the record of the partial file is written: a process that is killed loses at most these. */
const recordBytes = 4 * 1024 * 1024;
/** A network brings some kilobytes at a time. Writing each by itself costs more than all the rest. */
const writeBytes = 1024 * 1024;

/**
 * Fetches what is missing of one file, several ranges at a time, and hashes it on the way.
 *
 * @returns the hashes of the whole file; the caller compares
 */
export async function transferFile(options: TransferOptions): Promise<Digests> {
  const { file, partial } = options;
  const own = newHash(file.algorithm, file.size);
  const sha256 = file.algorithm === "sha256" ? own : newHash("sha256", file.size);
  const hashing = new PrefixHash(partial.file, own === sha256 ? [own] : [own, sha256]);
  hashing.reach(partial.ranges.prefix);
  try {
    await new Transfer(options, hashing).run();
  } catch (error) {
    await hashing.stop(); // the caller can close the file then
    throw error;
  }
  hashing.reach(file.size);
  await hashing.settled();
  const hash = own.digest("hex");
  return { hash, sha256: own === sha256 ? hash : sha256.digest("hex") };
}

/** What one worker fetches: from the next byte, `at`, to before `end`. */
interface Piece {
  at: number;
  end: number;
}

class Transfer {
  readonly #options: TransferOptions;
  readonly #hashing: PrefixHash;
  /** Ends all workers when one of them fails. */
  readonly #stop = new AbortController();
  readonly #queue: Range[];
  /** The `ETag` of the host that has the bytes: all ranges must be of one version of the file. */
  #etag: string | undefined;

  constructor(options: TransferOptions, hashing: PrefixHash) {
    this.#options = options;
    this.#hashing = hashing;
    setMaxListeners(0, this.#stop.signal); // every request listens
    this.#queue = options.partial.ranges.missing(options.file.size, options.limits.rangeBytes);
  }

  /** The first worker begins alone: its answer shows whether the server has ranges. */
  async run(): Promise<void> {
    const { limits, signal } = this.#options;
    const forget = onAbort(signal, (reason) => this.#stop.abort(reason));
    const workers: Promise<void>[] = [];
    const startWorker = (onRanges?: () => void) => {
      const worker = this.#worker(onRanges);
      worker.catch(() => {}); // it is awaited below, perhaps after others
      workers.push(worker);
    };
    const startOthers = () => {
      for (let i = Math.min(limits.connections - workers.length, this.#queue.length); i > 0; i--) startWorker();
    };
    try {
      if (signal.aborted) throw signal.reason;
      startWorker(startOthers);
      for (let i = 0; i < workers.length; i++) await workers[i];
    } finally {
      this.#stop.abort();
      await Promise.allSettled(workers);
      forget();
    }
  }

  async #worker(onRanges?: () => void): Promise<void> {
    try {
      for (let isFirst = onRanges !== undefined; ; isFirst = false) {
        const range = this.#queue.shift();
        if (range === undefined) return;
        await this.#fetch(range, isFirst ? onRanges : undefined);
      }
    } catch (error) {
      this.#stop.abort(error);
      throw error;
    }
  }

  async #fetch({ start, end }: Range, onRanges: (() => void) | undefined): Promise<void> {
    const { file, limits, onPause } = this.#options;
    const piece: Piece = { at: start, end };
    const signal = this.#stop.signal;
    await withTries(() => this.#try(piece, onRanges), { ...limits, what: file.name, signal, onPause });
  }

  /** One request. It moves `piece.at` on, so that a further try asks only for the rest. */
  async #try(piece: Piece, onRanges: (() => void) | undefined): Promise<void> {
    if (piece.at >= piece.end) return; // the try before failed behind the last byte
    const { connection, source, file } = this.#options;
    const address = addressOf(source, file.name);
    const headers = { range: `bytes=${piece.at}-${piece.end - 1}` };
    const answer = await connection.get(address, headers, this.#stop.signal);
    try {
      this.#checkVersion(answer);
      const host = new URL(address).host;
      let skip = 0;
      if (answer.status === 206) {
        checkRange(answer, piece, file, host);
        onRanges?.();
      } else {
        skip = this.#takeWhole(answer, piece, onRanges !== undefined);
      }
      await this.#write(answer, piece, skip, host);
    } finally {
      drop(answer.body);
    }
  }

  /**
   * A server without ranges sends the whole file. Only the first request may get it, before others have begun. Bytes
   * that were hashed are not written again, so that the hash is that of the file.
   *
   * @returns how many bytes of the answer are there already
   */
  #takeWhole({ status, headers }: Answer, piece: Piece, isFirst: boolean): number {
    const { file, partial, onBytes } = this.#options;
    if (status !== 200) throw downloadError(`${file.name}: expected status 206 or 200 but received ${status}`);
    const length = headers["content-length"];
    if (length !== undefined && Number(length) !== file.size) throw wrongSize(file, length);
    if (!isFirst) throw new TemporaryFailure("the server sent the whole file where a part was asked for");
    this.#queue.length = 0;
    const { bytes, prefix } = partial.ranges;
    partial.ranges.keepTo(prefix);
    onBytes(prefix - bytes);
    piece.at = prefix;
    piece.end = file.size;
    return prefix;
  }

  #checkVersion({ headers, hubHeaders }: Answer): void {
    const { file, source } = this.#options;
    const encoding = headers["content-encoding"];
    if (encoding !== undefined && encoding !== "identity") {
      throw downloadError(`${file.name}: the server compressed the file (${encoding}) although it was asked not to`);
    }
    const commit = hubHeaders["x-repo-commit"];
    const linked = bare(hubHeaders["x-linked-etag"]);
    if ((commit !== undefined && commit !== source.commit) || (linked !== undefined && linked !== file.hash)) {
      throw downloadError(`${file.name}: the hub now has another version than it listed; try again`);
    }
    const etag = headers.etag;
    this.#etag ??= etag;
    if (etag !== undefined && etag !== this.#etag) {
      throw new TemporaryFailure("the file changed on the server between two ranges");
    }
  }

  async #write({ chunks }: Answer, piece: Piece, skip: number, host: string): Promise<void> {
    const { onBytes, partial } = this.#options;
    const start = piece.at;
    let recorded = piece.at;
    let counted = 0;
    let toSkip = skip;
    let waiting: Buffer[] = [];
    let waitingBytes = 0;
    const flush = async () => {
      await partial.write(waiting, piece.at);
      piece.at += waitingBytes;
      waiting = [];
      waitingBytes = 0;
    };
    const record = async () => {
      await partial.done({ start: recorded, end: piece.at });
      recorded = piece.at;
      this.#hashing.reach(partial.ranges.prefix);
    };
    try {
      for await (const chunk of chunks) {
        const bytes = chunk.subarray(Math.min(toSkip, chunk.length));
        toSkip -= chunk.length - bytes.length;
        if (piece.at + waitingBytes + bytes.length > piece.end) {
          // What was recorded may be hashed already, so it stays.
          [piece.at, waiting, waitingBytes] = [recorded, [], 0];
          throw new TemporaryFailure(`${host} sent more bytes than it was asked for`);
        }
        waiting.push(bytes);
        waitingBytes += bytes.length;
        counted += bytes.length;
        onBytes(bytes.length);
        if (waitingBytes >= writeBytes) await flush();
        if (piece.at - recorded >= recordBytes) await record();
      }
    } finally {
      await flush();
      await record();
      onBytes(piece.at - start - counted);
    }
    if (piece.at < piece.end) throw new TemporaryFailure(`${host} ended the answer too early`);
  }
}

function checkRange({ headers }: Answer, piece: Piece, file: RemoteFile, host: string): void {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers["content-range"] ?? "");
  const [first, last, total] = (match ?? []).slice(1).map(Number);
  if (total !== undefined && total !== file.size) throw wrongSize(file, total);
  const isAsked = first === piece.at && last !== undefined && last < piece.end && last >= piece.at;
  if (!isAsked) throw new TemporaryFailure(`${host} sent another range than it was asked for`);
  const length = headers["content-length"];
  if (length !== undefined && Number(length) !== last - first + 1) {
    throw new TemporaryFailure(`${host} sent a Content-Length that is not that of the range`);
  }
}

function wrongSize({ name, size }: RemoteFile, received: unknown): Error {
  return downloadError(`${name}: the hub lists ${size} bytes, and the server says that it has ${received}`);
}

/** An entity tag without its quotes. */
function bare(etag: string | undefined): string | undefined {
  return etag?.replace(/^W\//, "").replace(/^"|"$/g, "");
}
