import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { stripVTControlCharacters } from "node:util";
import { environment, listen, program } from "./cli.js";

/** The program on a terminal that util-linux's `script` makes. */
export class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #heard: ReturnType<typeof listen>;
  readonly #closed: Promise<unknown[]>;

  constructor(args: string[], { columns = 60, env = {} }: { columns?: number; env?: NodeJS.ProcessEnv } = {}) {
    const words = [process.execPath, program, ...args].map((word) => `'${word}'`).join(" ");
    const command = `trap : INT; tty; stty cols ${columns} rows 30; ${words}; echo "[exit $?]"; stty -a`;
    this.#child = spawn("script", ["-qfc", command, "/dev/null"], {
      env: environment({ TERM: "xterm-256color", SHELL: "/bin/sh", ...env }),
    });
    this.#heard = listen(this.#child.stdout);
    this.#closed = once(this.#child, "close");
  }

  /** The raw output so far. */
  get raw(): string {
    return this.#heard.text;
  }

  /** The output without control sequences for the cursor and colours. */
  get text(): string {
    return plain(this.raw);
  }

  /** Resolves when the output contains this after `from`, an index in `raw`. */
  until(what: string | RegExp, from = 0): Promise<void> {
    return this.#heard.until(what, from);
  }

  type(keys: string): void {
    this.#child.stdin.write(keys);
  }

  /** Types the keys, and resolves with the output up to `what`. */
  async ask(keys: string, what: string | RegExp): Promise<string> {
    const from = this.raw.length;
    this.type(keys);
    await this.until(what, from);
    return plain(this.raw.slice(from));
  }

  paste(text: string): void {
    this.type(`\u001b[200~${text.replaceAll("\n", "\r")}\u001b[201~`);
  }

  resize(columns: number): void {
    execFileSync("stty", ["-F", /\/dev\/pts\/\d+/.exec(this.raw)![0], "cols", String(columns)]);
  }

  /** Process id of the program, the only one on this terminal. */
  pid(): number {
    const device = /\/dev\/(pts\/\d+)/.exec(this.raw)![1]!;
    return Number(execFileSync("pgrep", ["-t", device, "-f", "dist/cli/main.js", "-n"], { encoding: "utf8" }));
  }

  /** Resolves to the exit code of the program. */
  async ended(): Promise<number> {
    await this.#closed;
    return Number(/\[exit (\d+)\]/.exec(this.raw)?.[1]);
  }

  /** Closes the terminal's window. */
  async vanish(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }
}

const lineAnew = "\r\u001b[2K";

function plain(text: string): string {
  const shown = text.split("\n").map((line) => line.slice(Math.max(0, line.lastIndexOf(lineAnew))));
  return stripVTControlCharacters(shown.join("\n")).replaceAll("\r", "");
}
