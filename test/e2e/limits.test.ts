import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** A resource that the system refuses to a process causes an error that can be caught: never an abort or a hang. */

const root = fileURLToPath(new URL("../../", import.meta.url));
const golden = path.join(root, "test", "golden", "models", "a");

/** Runs a module's body in a process with limits of the shell's ulimit, and parses its output. */
function limited(limits: string, body: string, wrapper: string[] = []) {
  const code = `import { Engine } from ${JSON.stringify(path.join(root, "dist", "index.js"))};
    const told = (error) => ({ code: error.code, message: error.message });
    ${body}`;
  const shell = ["bash", "-c", `${limits}; exec "$0" --input-type=module -e "$1"`, process.execPath, code];
  const [program = "", ...args] = [...wrapper, ...shell];
  // With a socket as its input, and started by no other shell, bash takes itself for one of sshd and reads ~/.bashrc.
  const { signal, status, stdout, stderr } = spawnSync(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    timeout: 100_000,
  });
  expect({ signal, status, stderr }).toEqual({ signal: null, status: 0, stderr: "" });
  return JSON.parse(stdout);
}

/** Address space of an idle Node process, in KiB. */
const nodeKiB = limited(
  ":",
  `import { readFileSync } from "node:fs";
   console.log(Number(/VmPeak:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]));`,
) as number;

const load = (model: string, options: object) => `Engine.load(${JSON.stringify(model)}, ${JSON.stringify(options)})`;

describe("a limit", { timeout: 120_000 }, () => {
  it("of the address space refuses threads, by name, and the process works on", () => {
    const { wanted, few } = limited(
      `ulimit -v ${nodeKiB + 1_000_000}`,
      `const wanted = await ${load("synthetic:tiny", { backend: "cpu", threads: 1024 })}.catch(told);
       const engine = await ${load(golden, { backend: "cpu", threads: 2, kvCache: { bytes: "16MiB" } })};
       const { tokens } = await engine.generate([1, 2, 3], { maxTokens: 4, ignoreEos: true }).result;
       await engine.close();
       console.log(JSON.stringify({ wanted, few: tokens.length }));`,
    );
    expect(wanted.code).toBe("RESOURCE_LIMIT");
    expect(wanted.message).toMatch(
      /1024 threads were wanted, and \d+ could be made: .*ulimit -v .*set threads to \d+ or less/,
    );
    expect(few).toBe(4);
  });

  it("of a user's threads does so, too", () => {
    // Runs as a user without threads if this process can switch to one; otherwise as this user, who has some.
    const isRoot = process.getuid?.() === 0;
    const wrapper = isRoot ? ["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups"] : [];
    const has = isRoot
      ? 0
      : Number(spawnSync("bash", ["-c", `ps -L -u ${process.getuid?.()} | wc -l`], { encoding: "utf8" }).stdout);
    const { code, message } = limited(
      `ulimit -u ${has + 100}`,
      `console.log(JSON.stringify(await ${load("synthetic:tiny", { backend: "cpu", threads: 1024 })}.catch(told)));`,
      wrapper,
    );
    expect(code).toBe("RESOURCE_LIMIT");
    expect(message).toMatch(/ulimit -u \(RLIMIT_NPROC\) is \d+ threads of this user/);
  });

  it("of memory ends the request that asks for too much, not the engine, nor anybody's request beside it", () => {
    const { logits, beside, after } = limited(
      `ulimit -v ${nodeKiB + 1_300_000}`,
      `const engine = await ${load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 4096, kvCache: { bytes: "16MiB" } })};
       const other = engine.generate([1, 2, 3], { maxTokens: 60, ignoreEos: true }).result.then((r) => r.finishReason, told);
       const tokens = Array.from({ length: 2500 }, (_, i) => i);
       const logits = await engine.logits(tokens, { last: 2500 }).then(() => "all", told);
       const beside = await other;
       const after = (await engine.generate([1], { maxTokens: 1 }).result).finishReason;
       await engine.close();
       console.log(JSON.stringify({ logits, beside, after }));`,
    );
    expect(logits.code).toBe("OUT_OF_MEMORY");
    expect({ beside, after }).toEqual({ beside: "length", after: "length" });
  });

  it("of memory that suffices for the logits and not for their array of JavaScript is an error, too", () => {
    const { logits, after } = limited(
      `ulimit -v ${nodeKiB + 1_000_000}`,
      `const engine = await ${load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 4096, kvCache: { bytes: "16MiB" } })};
       const tokens = Array.from({ length: 900 }, (_, i) => i);
       const logits = await engine.logits(tokens, { last: 700 }).then(() => "all", told);
       const after = (await engine.generate([1], { maxTokens: 1 }).result).finishReason;
       await engine.close();
       console.log(JSON.stringify({ logits, after }));`,
    );
    expect(logits.code).toBe("OUT_OF_MEMORY");
    expect(after).toBe("length");
  });

  it("of the address space is what the automatic KV cache is planned from", () => {
    const info = limited(
      `ulimit -v ${nodeKiB + 1_000_000}`,
      `const engine = await ${load("synthetic:small", { backend: "cpu", threads: 1 })};
       await engine.close();
       console.log(JSON.stringify(engine.info));`,
    );
    expect(info.memory.availableReason).toMatch(/ulimit -v/);
    expect(info.memory.availableBytes).toBeLessThan(1_000_000 * 1024);
    expect(info.memory.kvBytes).toBeLessThan(info.memory.availableBytes);
    expect(info).toMatchObject({ threads: 1, threadsReason: "asked for" });
  });

  it("of open files is named", () => {
    const { code, message } = limited(
      "ulimit -n 256",
      `import { openSync } from "node:fs";
       await (await ${load("synthetic:tiny", { backend: "cpu", threads: 1 })}).close(); // the addon is there
       try { for (;;) openSync("/dev/null"); } catch {}
       console.log(JSON.stringify(await ${load(golden, { backend: "cpu", threads: 1 })}.catch(told)));`,
    );
    expect(code).toBe("RESOURCE_LIMIT");
    expect(message).toMatch(/too many open files.* raise the limit of open files \(ulimit -n\)/);
  });

  it("of stacks is none of ours", () => {
    const tokens = limited(
      "ulimit -s 512",
      `const engine = await ${load(golden, { backend: "cpu", threads: 3, kvCache: { bytes: "16MiB" } })};
       const { tokens } = await engine.generate([1, 2, 3], { maxTokens: 4, ignoreEos: true }).result;
       await engine.close();
       console.log(JSON.stringify(tokens.length));`,
    );
    expect(tokens).toBe(4);
  });
});
