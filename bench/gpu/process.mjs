// Programs that may take too long, or fail.
import { spawn } from "node:child_process";

/**
 * stdout and stderr in one text; a child past its time is ended with all that it started, and so is one that outlives us.
 *
 * @returns { ok, status, late, text }
 */
export function runProcess(command, args, { cwd, seconds, env = {}, show = true }) {
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
  const timer = setTimeout(() => {
    late = true;
    end();
  }, seconds * 1000);
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      if (show) process.stdout.write(chunk);
    });
  }
  return new Promise((resolve) => {
    const done = (status, problem) => {
      clearTimeout(timer);
      process.off("exit", end);
      if (late) text += `\nended after ${Math.round(seconds)} s: out of time\n`;
      resolve({ ok: status === 0 && !late, status, late, text: problem ? `${problem}\n${text}` : text });
    };
    child.on("error", (error) => done(-1, error.message));
    child.on("close", (status) => done(status));
  });
}
