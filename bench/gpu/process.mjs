// Programs that can take too long or fail.
import { spawn } from "node:child_process";

/**
 * Runs a program; `text` has its stdout and stderr. A child is ended with all its children when its time is over or
 * when this process exits.
 *
 * @param onLine called with each line of stdout as it arrives
 * @returns { ok, status, signal, late, text }
 */
export function runProcess(command, args, { cwd, seconds, env = {}, show = true, onLine }) {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let text = "";
  let late = false;
  const end = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // it has just ended
    }
  };
  process.once("exit", end);
  const timer = setTimeout(
    () => {
      late = true;
      end();
    },
    Math.min(Math.max(0, seconds) * 1000, 2 ** 31 - 1),
  );
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      if (show) process.stdout.write(chunk);
      if (!onLine || stream !== child.stdout) return;
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      for (const line of lines) onLine(line);
    });
  }
  return new Promise((resolve) => {
    const done = (status, signal, problem) => {
      clearTimeout(timer);
      process.off("exit", end);
      if (late) text += `\nended after ${Math.round(seconds)} s: out of time\n`;
      resolve({ ok: status === 0 && !late, status, signal, late, text: problem ? `${problem}\n${text}` : text });
    };
    child.on("error", (error) => done(-1, null, error.message));
    child.on("close", (status, signal) => done(status, signal));
  });
}

/** The last lines of a text. */
export const last = (text, lines) => text.trimEnd().split("\n").slice(-lines).join("\n");
