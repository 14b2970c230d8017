import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

/** Runs the command line program in separate processes. */

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const program = path.join(root, "dist", "cli", "main.js");
export const goldenModel = path.join(root, "test", "golden", "models", "a");
export const demoLabel = "demo model: answers about 130 questions; it is not gpt-oss";

export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Removes variables that would change the program's behaviour from the tests' environment. */
export function environment(env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const ours = { GPT_OSS_MODEL: undefined, GPT_OSS_BACKEND: undefined, NO_COLOR: undefined, FORCE_COLOR: undefined };
  return { ...process.env, ...ours, ...env };
}

/** The running programs: they are stopped even if their test fails. */
const children = new Set<ChildProcessWithoutNullStreams>();
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

export function start(args: string[], env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [program, ...args], { env: environment(env) });
  children.add(child);
  child.once("close", () => children.delete(child));
  return child;
}

/** Runs a shell command in which `gpt-oss` is the program. */
export function startShell(line: string, env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const script = `gpt-oss() { "$NODE" "$PROGRAM" "$@"; }\n${line}`;
  return spawn("bash", ["-c", script], { env: environment({ NODE: process.execPath, PROGRAM: program, ...env }) });
}

/** The text of a stream so far, and a promise for a text that it will print. */
export function listen(stream: NodeJS.ReadableStream) {
  const heard = { text: "", until };
  const waiting = new Set<() => void>();
  stream.setEncoding("utf8").on("data", (piece: string) => {
    heard.text += piece;
    for (const look of waiting) look();
  });
  /** @param from index in the text where the search begins */
  function until(what: string | RegExp, from = 0): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        const text = heard.text.slice(from);
        if (typeof what === "string" ? !text.includes(what) : !what.test(text)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  }
  return heard;
}

export async function finish(child: ChildProcessWithoutNullStreams, input = ""): Promise<Run> {
  const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
  const closed = once(child, "close");
  child.stdin.on("error", () => {}); // the program may end before it has read everything
  child.stdin.end(input);
  const [code] = (await closed) as [number | null];
  return { code, stdout: stdout.text, stderr: stderr.text };
}

export function run(args: string[], input = "", env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return finish(start(args, env), input);
}

export function runShell(line: string, env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return finish(startShell(line, env));
}
