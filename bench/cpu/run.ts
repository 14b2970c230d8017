// Builds oss_cpu_bench, runs it with the given arguments, and adds the commit and the machine to its JSON lines.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../../lib/binding.js";
import { commit, machine } from "../support/machine.js";

const name = "oss_cpu_bench";
const build = spawnSync(process.execPath, [path.join(packageRoot, "native/build.mjs"), "--target", name], {
  stdio: ["ignore", 2, 2],
});
if (build.status !== 0) process.exit(build.status ?? 1);
const program = [".", "Release"]
  .map((folder) => path.join(packageRoot, ".cmake", `${process.platform}-${process.arch}`, folder, name))
  .find(existsSync);
if (!program) throw new Error(`The build left no ${name}`);

const args = process.argv.slice(2);
const bench = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
const every = { bench: "kernels", commit: commit(), machine: machine() };
for await (const line of createInterface({ input: bench.stdout })) {
  const isJson = args.includes("--json") && line.startsWith("{");
  process.stdout.write(`${isJson ? JSON.stringify({ ...every, ...JSON.parse(line) }) : line}\n`);
}
bench.once("close", (code) => {
  process.exitCode = code ?? 1;
});
