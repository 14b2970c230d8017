import type { TransferProgress } from "../pull/index.js";
import { exitCodes, Interrupted } from "./exit.js";
import { bytesText, type Output } from "./output.js";

/** What a transfer is watched with. */
interface Watch {
  onProgress: (progress: TransferProgress) => void;
  signal: AbortSignal;
}

/**
 * Shows how far a transfer is, and stops it at Ctrl-C. A second Ctrl-C ends the program at once.
 *
 * @param stopped what is said when it was stopped
 */
export async function withTransfer<T>(notes: Output, stopped: string, work: (watch: Watch) => Promise<T>): Promise<T> {
  const stopping = new AbortController();
  const interrupt = () => {
    if (stopping.signal.aborted) process.exit(exitCodes.interrupted);
    stopping.abort(new Interrupted());
  };
  const status = new TransferStatus(notes);
  process.on("SIGINT", interrupt);
  try {
    return await work({ onProgress: (progress) => status.show(progress), signal: stopping.signal });
  } catch (error) {
    status.clear();
    if (error instanceof Interrupted) notes.line(stopped);
    throw error;
  } finally {
    process.off("SIGINT", interrupt);
    status.clear();
  }
}

const phases = { list: "Listing", check: "Checking", download: "Downloading" };
/** The rate is that of so many milliseconds: a shorter time makes the remaining time jump. */
const rateMilliseconds = 5000;

/** A line that changes on a terminal; elsewhere a line for every tenth. */
export class TransferStatus {
  readonly #notes: Output;
  readonly #now: () => number;
  #phase: TransferProgress["phase"] | null = null;
  #tenth = 0;
  #samples: { at: number; bytes: number }[] = [];

  constructor(notes: Output, now: () => number = () => performance.now()) {
    this.#notes = notes;
    this.#now = now;
  }

  show(progress: TransferProgress): void {
    if (progress.note !== undefined) {
      this.clear();
      this.#notes.line(progress.note);
    }
    const { phase, loadedBytes, totalBytes } = progress;
    if (phase !== this.#phase) this.#begin(progress);
    this.#measure(loadedBytes);
    this.#notes.status(this.#line(progress));
    const tenth = totalBytes > 0 ? Math.floor((10 * loadedBytes) / totalBytes) : 0;
    if (tenth === this.#tenth) return;
    if (!this.#notes.isTerminal && tenth > this.#tenth && phase !== "list")
      this.#notes.line(`${phases[phase]}: ${10 * tenth} %`);
    this.#tenth = tenth;
  }

  clear(): void {
    this.#notes.status("");
  }

  #begin({ phase, folder, totalBytes, loadedBytes }: TransferProgress): void {
    this.#phase = phase;
    this.#samples = [];
    this.#tenth = totalBytes > 0 ? Math.floor((10 * loadedBytes) / totalBytes) : 0;
    if (phase === "list" || totalBytes === 0 || folder === null) return;
    const what =
      phase === "check"
        ? `Checking ${bytesText(totalBytes)} in ${folder}`
        : `Downloading to ${folder}: ${bytesText(totalBytes)}`;
    const there = phase === "download" && loadedBytes > 0 ? `, ${bytesText(loadedBytes)} of it there` : "";
    this.clear();
    this.#notes.line(what + there);
  }

  #measure(bytes: number): void {
    const at = this.#now();
    this.#samples.push({ at, bytes });
    while (this.#samples.length > 2 && at - this.#samples[1]!.at >= rateMilliseconds) this.#samples.shift();
  }

  /** `Downloading 42 % of 13.8 GB, 105 MB/s, 1 min 16 s left: model-00001-of-00003.safetensors` */
  #line({ phase, file, loadedBytes, totalBytes }: TransferProgress): string {
    if (totalBytes === 0) return `${phases[phase]} …`;
    const [first] = this.#samples;
    const seconds = (this.#now() - first!.at) / 1000;
    const rate = seconds > 0 ? (loadedBytes - first!.bytes) / seconds : 0;
    const speed =
      rate > 0 ? `, ${bytesText(Math.round(rate))}/s, ${timeText((totalBytes - loadedBytes) / rate)} left` : "";
    const percent = Math.floor((100 * loadedBytes) / totalBytes);
    return `${phases[phase]} ${percent} % of ${bytesText(totalBytes)}${speed}${file === null ? "" : `: ${file}`}`;
  }
}

export function timeText(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
