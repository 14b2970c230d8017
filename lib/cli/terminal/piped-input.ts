import { fstatSync } from "node:fs";
import type { Readable } from "node:stream";
import type { Line, LineInput } from "./line-input.js";

/** Lines of a pipe or a file. No prompt is printed. */
export class PipedInput implements LineInput {
  readonly #stream: Readable;
  readonly #lines: AsyncGenerator<string, void, undefined>;
  #settle: (line: Line) => void = () => {};

  constructor(stream: Readable) {
    this.#stream = stream;
    this.#lines = linesOf(stream);
  }

  /** Rejects with what reading throws, such as EISDIR. */
  ask(): Promise<Line> {
    return new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#lines
        .next()
        .then(({ done, value }) => resolve(done ? { kind: "end" } : { kind: "line", text: value }), reject);
    });
  }

  interrupt(): void {
    this.#settle({ kind: "interrupt" });
  }

  close(): void {
    this.#stream.destroy();
  }
}

/** The input that is piped into this program. @throws Error EISDIR for a folder, which Node would read as empty */
export function pipedStdin(): Readable {
  if (isFolder(0)) throw Object.assign(new Error("The input is a folder, which cannot be read"), { code: "EISDIR" });
  return process.stdin;
}

function isFolder(fd: number): boolean {
  try {
    return fstatSync(fd).isDirectory();
  } catch {
    return false; // other errors come from reading
  }
}

/** The lines of a text that comes in pieces, without their ends; the last one may have none. */
export async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  const begun: string[] = [];
  for await (const chunk of stream) {
    const pieces = decoder.decode(chunk, { stream: true }).split("\n");
    const last = pieces.pop()!;
    for (const piece of pieces) yield withoutReturn(begun.splice(0).join("") + piece);
    begun.push(last);
  }
  const last = begun.join("") + decoder.decode();
  if (last !== "") yield withoutReturn(last);
}

function withoutReturn(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}
