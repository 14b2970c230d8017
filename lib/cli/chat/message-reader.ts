const quotes = '"""';

/** A text that was entered. A quoted one is always a message, never a command. */
export interface EnteredText {
  text: string;
  isQuoted: boolean;
}

/** Makes messages of lines: each line is one message, and the lines from """ to """ are one together. */
export class MessageReader {
  #lines: string[] | null = null;

  /** Whether lines are being collected. */
  get isOpen(): boolean {
    return this.#lines !== null;
  }

  /** The message that this line completes. */
  take(line: string): EnteredText | null {
    let text = line;
    if (this.#lines === null) {
      if (!line.trimStart().startsWith(quotes)) return { text, isQuoted: false };
      this.#lines = [];
      text = line.trimStart().slice(quotes.length);
    }
    const isLast = text.trimEnd().endsWith(quotes);
    this.#lines.push(isLast ? text.trimEnd().slice(0, -quotes.length) : text);
    return isLast ? this.end() : null;
  }

  /** What was collected so far, as a message; null when nothing was. */
  end(): EnteredText | null {
    const lines = this.#lines;
    this.#lines = null;
    if (lines === null) return null;
    // The quotes may have lines of their own.
    if (lines[0] === "") lines.shift();
    if (lines.at(-1)?.trim() === "") lines.pop();
    return { text: lines.join("\n"), isQuoted: true };
  }

  /** Forgets what was collected. */
  discard(): void {
    this.#lines = null;
  }
}
