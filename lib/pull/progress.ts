import { setMaxListeners } from "node:events";
import { onAbort } from "../common/abort.js";
import type { TransferProgress } from "./options.js";

/** No more reports than these are useful to a reader. */
const leastMilliseconds = 100;

/** Reports to the caller, and stops the work when the caller does: by the signal, or by an exception of `onProgress`. */
export class Progress {
  readonly #tell: (progress: TransferProgress) => void;
  readonly #stop = new AbortController();
  readonly #forget: () => void;
  readonly #state: TransferProgress = { phase: "list", file: null, loadedBytes: 0, totalBytes: 0, folder: null };
  #toldAt = Number.NEGATIVE_INFINITY;
  #later: NodeJS.Timeout | undefined;

  constructor(tell: (progress: TransferProgress) => void, signal: AbortSignal | undefined) {
    this.#tell = tell;
    setMaxListeners(0, this.#stop.signal); // every request listens
    this.#forget = onAbort(signal, (reason) => this.#stop.abort(reason));
    if (signal?.aborted) this.#stop.abort(signal.reason);
  }

  /** The signal of all work. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** @param loadedBytes what was there before */
  begin(phase: TransferProgress["phase"], totalBytes: number, folder: string, loadedBytes = 0): void {
    Object.assign(this.#state, { phase, file: null, loadedBytes, totalBytes, folder });
    this.#report();
  }

  add(file: string, bytes: number): void {
    this.#state.loadedBytes += bytes;
    this.#state.file = file;
    const early = this.#toldAt + leastMilliseconds - performance.now();
    if (early <= 0) this.#report();
    else this.#later ??= setTimeout(() => this.#report(), early);
  }

  note(note: string): void {
    this.#report(note);
  }

  /** The last report of a phase has its last bytes. */
  end(): void {
    this.#report();
  }

  close(): void {
    clearTimeout(this.#later);
    this.#forget();
  }

  #report(note?: string): void {
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#toldAt = performance.now();
    try {
      this.#tell({ ...this.#state, ...(note !== undefined && { note }) });
    } catch (error) {
      this.#stop.abort(error);
    }
  }
}
