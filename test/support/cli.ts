import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

/** The command line program in processes of their own. */

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const program = path.join(root, "dist", "cli", "main.js");
export const goldenModel = path.join(root, "test", "golden", "models", "a");
export const demoLabel = "demo model: answers about 130 questions; it is not gpt-oss";

export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What surrounds the tests must not decide what the program does. */
export function environment(env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const ours = { GPT_OSS_MODEL: undefined, GPT_OSS_BACKEND: undefined, NO_COLOR: undefined, FORCE_COLOR: undefined };
  return { ...process.env, ...ours, ...env };
}

/** A test that fails leaves none behind. */
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

/** Runs a line of the shell in which `gpt-oss` is the program. */
export function startShell(line: string, env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const script = `gpt-oss() { "$NODE" "$PROGRAM" "$@"; }\n${line}`;
  return spawn("bash", ["-c", script], { env: environment({ NODE: process.execPath, PROGRAM: program, ...env }) });
}

/** All that a stream has said so far, and a promise for the moment when it has said something. */
export function listen(stream: NodeJS.ReadableStream) {
  const heard = { text: "", until };
  const waiting = new Set<() => void>();
  stream.setEncoding("utf8").on("data", (piece: string) => {
    heard.text += piece;
    for (const look of waiting) look();
  });
  /** @param from where in the text to look */
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
