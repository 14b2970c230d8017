import { hasColor } from "./color.js";
import { writeNote, writeOut } from "./stdio.js";
import { harmless } from "./terminal/harmless.js";
import { WordWrap } from "./terminal/word-wrap.js";

/** A place that text is printed to. */
export interface Sink {
  readonly isTTY?: boolean;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const stdout: Sink = {
  get isTTY() {
    return process.stdout.isTTY === true;
  },
  get columns() {
    return process.stdout.columns;
  },
  write: writeOut,
};

const stderr: Sink = {
  get isTTY() {
    return process.stderr.isTTY === true;
  },
  get columns() {
    return process.stderr.columns;
  },
  write: writeNote,
};

/** Prints to stdout or stderr. On a terminal, lines break at words. */
export class Output {
  private readonly sink: Sink;
  private readonly wrap: WordWrap;
  /** On a terminal, control characters would act, so their pictures are shown. */
  readonly isTerminal: boolean;
  readonly isColored: boolean;
  private readonly canReplace: boolean;
  private column0 = true;
  private isDim = false;

  constructor(sink: Sink, env: NodeJS.ProcessEnv = process.env) {
    this.sink = sink;
    this.isTerminal = sink.isTTY === true;
    this.isColored = hasColor(this.isTerminal, env);
    this.canReplace = this.isTerminal && env.TERM !== "dumb";
    this.wrap = new WordWrap(() => (this.isTerminal ? (sink.columns ?? 0) : 0));
  }

  static readonly stdout = () => new Output(stdout);
  static readonly stderr = () => new Output(stderr);

  /** Whether the last character was an end of line, or nothing was written yet. */
  get atLineStart(): boolean {
    return this.column0;
  }

  /** Text from anywhere: a model, a file, a user. */
  text(text: string): void {
    this.style(false);
    this.put(text);
  }

  /** The same, dimmed; plain if there are no colors. */
  dim(text: string): void {
    this.style(this.isColored);
    this.put(text);
  }

  line(text = ""): void {
    this.text(`${text}\n`);
  }

  /** Ends a line that was begun. */
  endLine(): void {
    if (!this.column0) this.text("\n");
    this.flush();
  }

  /** Shows the text that was held back for the rest of its word. */
  flush(): void {
    this.write(this.wrap.flush());
  }

  /** Shows a line that the next one replaces. If the output cannot replace lines, it shows nothing. */
  status(text: string): void {
    if (!this.canReplace) return;
    this.flush();
    // A line that wraps could not be replaced.
    const columns = this.sink.columns ?? 0;
    this.sink.write(`\r\u001b[2K${harmless(columns > 0 ? text.slice(0, columns - 1) : text)}`);
    this.wrap.restart();
  }

  private style(isDim: boolean): void {
    if (isDim === this.isDim) return;
    this.flush();
    this.isDim = isDim;
  }

  private put(text: string): void {
    if (text === "") return;
    this.column0 = text.endsWith("\n");
    // In a pipe, everything is as it came.
    this.write(this.isTerminal ? this.wrap.push(harmless(text)) : text);
  }

  private write(text: string): void {
    if (text === "") return;
    this.sink.write(this.isDim ? `\u001b[2m${harmless(text)}\u001b[22m` : text);
  }
}

/** Bytes for people, in powers of 1000 as disks and model cards count. */
export function bytesText(bytes: number): string {
  if (bytes === 1) return "1 byte";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  // Three digits of 999.6 would be 1.00e+3.
  while (value >= (unit === 0 ? 1000 : 999.5) && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

/** `1 file`, `2 files`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A number of parameters for people. */
export function parametersText(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toPrecision(3)} billion` : `${(count / 1e6).toPrecision(3)} million`;
}
