import type { WriteStream } from "node:tty";

/** What the program prints: data to stdout, everything about it to stderr. */
export class Output {
  private readonly stream: NodeJS.WriteStream;
  /** A person is looking: control characters would act, so they are shown instead. */
  readonly isTerminal: boolean;
  readonly isColored: boolean;
  private column0 = true;

  constructor(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv = process.env) {
    this.stream = stream;
    this.isTerminal = (stream as Partial<WriteStream>).isTTY === true;
    this.isColored = this.isTerminal && !env.NO_COLOR && env.TERM !== "dumb";
  }

  /** Whether the last character was an end of line, or nothing was written yet. */
  get atLineStart(): boolean {
    return this.column0;
  }

  /** Text from anywhere: a model, a file, a user. */
  text(text: string): void {
    this.put(this.isTerminal ? harmless(text) : text, "", "");
  }

  /** The same, set back; plain where there is no color. */
  dim(text: string): void {
    if (this.isColored) this.put(harmless(text), "\u001b[2m", "\u001b[22m");
    else this.text(text);
  }

  line(text = ""): void {
    this.text(`${text}\n`);
  }

  /** Ends a line that was begun. */
  endLine(): void {
    if (!this.column0) this.text("\n");
  }

  /** Shows a line that the next one replaces; nothing where lines cannot be replaced. */
  status(text: string): void {
    if (this.isTerminal && this.isColored) this.stream.write(`\r\u001b[2K${harmless(text)}`);
  }

  private put(text: string, before: string, after: string): void {
    if (text === "") return;
    this.column0 = text.endsWith("\n");
    this.stream.write(before + text + after);
  }
}

/**
 * Text that a terminal shows and does not obey: control characters other than newline and tab become their pictures
 * (ESC is ␛), and a carriage return, which could overwrite what was printed, is left out.
 */
export function harmless(text: string): string {
  return text.replace(control, (character) => {
    const code = character.charCodeAt(0);
    if (code === 0x0d) return "";
    if (code === 0x7f) return "\u2421";
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : "\ufffd";
  });
}

const control = /(?![\n\t])\p{Cc}/gu;

/** Bytes for people, in powers of 1000 as disks and model cards count. */
export function bytesText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}
