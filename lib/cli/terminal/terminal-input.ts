import { createInterface, type Interface } from "node:readline";
import { Readable } from "node:stream";
import type { ReadStream } from "node:tty";
import type { Line, LineInput, Question } from "./line-input.js";
import { fromLine, type InputPiece, PasteReader, toLine } from "./paste.js";

const bracketedPaste =
  process.env.TERM === "dumb" ? { on: "", off: "" } : { on: "\u001b[?2004h", off: "\u001b[?2004l" };
const escapeMilliseconds = 50; // within which the rest of a key's sequence comes

/** What Node's line editor reads from: keys that we hand to it, one after the other. */
class Keys extends Readable {
  readonly isTTY = true;
  override _read(): void {}
  /** Whether this program has set the mode of the terminal. */
  setRawMode(): this {
    return this;
  }
}

/**
 * A person at a terminal. A pasted text is one piece of the line that is edited, however many lines it has. What is
 * typed while nobody is asked waits, and does not disturb what is printed; but Ctrl-C acts at once, and Ctrl-Z stops
 * the program until the shell goes on with it.
 */
export class TerminalInput implements LineInput {
  readonly #input: ReadStream;
  readonly #output: NodeJS.WriteStream;
  readonly #interrupt: () => void;
  readonly #pastes = new PasteReader();
  readonly #waiting: InputPiece[] = [];
  #history: string[] = [];
  #editor: { lines: Interface; keys: Keys; settle: (line: Line) => void } | null = null;
  /** The editor looks for what Tab can mean; keys after it come after that. */
  #isCompleting = false;
  #escapeTimer: NodeJS.Timeout | undefined;
  #hasEnded = false;

  /** @param interrupt is called for Ctrl-C while nobody is asked */
  constructor(input: ReadStream, output: NodeJS.WriteStream, interrupt: () => void) {
    this.#input = input;
    this.#output = output;
    this.#interrupt = interrupt;
    input.setEncoding("utf8");
    input.on("data", this.#onData).on("end", this.#onEnd).on("close", this.#onEnd).on("error", this.#onEnd);
    input.resume(); // another question before this one has paused it
    process.on("SIGCONT", this.#resume);
    process.on("exit", this.#release);
    for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, this.#die);
    this.#take();
  }

  close(): void {
    this.#release();
    this.#input.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onEnd);
    this.#input.pause();
    process.off("SIGCONT", this.#resume);
    process.off("exit", this.#release);
    for (const signal of ["SIGTERM", "SIGHUP"] as const) process.off(signal, this.#die);
  }

  /** Asks for one line. Ctrl-C discards what was typed of it, and interrupts when nothing was. */
  ask(question: Question): Promise<Line> {
    return new Promise((resolve) => {
      if (this.#hasEnded) {
        resolve({ kind: "end" });
        return;
      }
      const keys = new Keys();
      const lines = createInterface({
        input: keys,
        output: this.#output,
        terminal: true,
        prompt: question.prompt,
        ...(question.remembers ? { history: [...this.#history] } : { historySize: 0 }),
        ...(question.complete && { completer: question.complete }),
      });
      const settle = (line: Line) => {
        if (this.#editor?.lines !== lines) return;
        this.#editor = null;
        this.#isCompleting = false;
        lines.close();
        if (line.kind !== "line") this.#output.write("\n"); // the prompt was not answered
        resolve(line);
      };
      if (question.remembers) {
        lines.on("history", (history) => {
          this.#history = [...history];
        });
      }
      lines.on("line", (line) => settle({ kind: "line", text: fromLine(line) }));
      lines.on("close", () => settle({ kind: "end" }));
      lines.on("pause", () => {
        this.#isCompleting = this.#editor?.lines === lines;
      });
      lines.on("resume", () => {
        this.#isCompleting = false;
        this.#feed(this.#waiting.splice(0));
      });
      this.#editor = { lines, keys, settle };
      lines.prompt();
      this.#feed(this.#waiting.splice(0));
    });
  }

  /** Ends the question that is asked. */
  interrupt(): void {
    this.#editor?.settle({ kind: "interrupt" });
  }

  readonly #onData = (text: string) => {
    clearTimeout(this.#escapeTimer);
    this.#feed(this.#pastes.push(text));
    if (!this.#pastes.holdsKeys) return;
    this.#escapeTimer = setTimeout(() => this.#feed(this.#pastes.release()), escapeMilliseconds);
  };

  readonly #onEnd = () => {
    this.#hasEnded = true;
    this.#editor?.settle({ kind: "end" });
  };

  #feed(pieces: readonly InputPiece[]): void {
    for (const { kind, text } of pieces) {
      for (const part of kind === "paste" ? [text] : splitAtKeys(text)) this.#act({ kind, text: part });
    }
  }

  #act(piece: InputPiece): void {
    const { kind, text } = piece;
    if (kind === "keys" && text === suspendKey) this.#suspend();
    else if (kind === "keys" && text === stopKey) this.#stop();
    else if (this.#editor === null || this.#isCompleting) this.#waiting.push(piece);
    else if (kind === "paste") this.#editor.lines.write(toLine(text));
    else this.#editor.keys.emit("data", text);
  }

  #stop(): void {
    this.#waiting.length = 0;
    const { lines } = this.#editor ?? {};
    if (lines === undefined) this.#interrupt();
    else if (lines.line === "") this.interrupt();
    else {
      lines.write(null, { ctrl: true, name: "e" });
      lines.write(null, { ctrl: true, name: "u" });
    }
  }

  readonly #take = () => {
    this.#input.setRawMode(true);
    this.#output.write(bracketedPaste.on);
  };

  /** Restores the mode that the terminal had before. */
  readonly #release = () => {
    if (!this.#input.isRaw || this.#hasEnded) return;
    this.#input.setRawMode(false);
    this.#output.write(bracketedPaste.off);
  };

  /** As the key does where nobody takes keys one by one: all programs that run together stop. */
  #suspend(): void {
    if (process.platform === "win32") return;
    this.#release();
    process.kill(0, "SIGTSTP");
    setImmediate(this.#resume); // where nothing can stop it, it goes on at once
  }

  readonly #resume = () => {
    if (this.#hasEnded) return;
    this.#take();
    this.#editor?.lines.prompt(true);
  };

  readonly #die = (signal: NodeJS.Signals) => {
    this.#release();
    process.off(signal, this.#die);
    process.kill(process.pid, signal);
  };
}

const stopKey = "\u0003"; // Ctrl-C
const suspendKey = "\u001a"; // Ctrl-Z
const pauseKeys = "\r\n\u0004\t"; // Enter, Ctrl-D, and Tab

/** Keys in pieces: behind some the editor is not ready for the next, or is gone, and those that we act on stand alone. */
function splitAtKeys(text: string): string[] {
  const pieces: string[] = [];
  let begun = "";
  const cut = () => {
    if (begun !== "") pieces.push(begun);
    begun = "";
  };
  for (const key of text) {
    const isOurs = key === stopKey || key === suspendKey;
    if (isOurs) cut();
    begun += key;
    if (isOurs || pauseKeys.includes(key)) cut();
  }
  cut();
  return pieces;
}
