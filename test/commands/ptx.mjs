// npm run ptx: the CUDA tests with the kernels that nvcc compiles, without a GPU. It compiles each kernels/cuda/*.cu to
// PTX for each architecture. The emulated GPU executes the PTX instead of g++'s code for the same source
// (test/emu/ptx).
//
//   node test/commands/ptx.mjs [--architectures 80,90a] [BEGIN_OF_A_CASE ...]      default: all kernel and engine cases
//
// Exits 1 when a case fails, 2 without nvcc, when nothing ran. The PTX stays in .cmake/ptx/ARCHITECTURE.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { findNvcc, flags, noNvcc } from "./ptxas.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { architectures: { type: "string", default: "80,90a" } },
});
const executable = [".", "Release"]
  .map((folder) => path.join(root, `.cmake/${process.platform}-${process.arch}`, folder, "oss_tests"))
  .find(existsSync);
const nvcc = findNvcc();
if (!nvcc) {
  console.log(noNvcc);
  process.exit(2);
}
if (!executable) {
  console.error('oss_tests is missing: "npm run build:tests" builds it');
  process.exit(1);
}

async function compile(architecture) {
  const folder = path.join(root, ".cmake", "ptx", architecture);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const sources = readdirSync(path.join(root, "kernels/cuda")).filter((name) => name.endsWith(".cu"));
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (let source = sources.shift(); source; source = sources.shift()) {
        const out = path.join(folder, source.replace(/\.cu$/, ".ptx"));
        const target = `-arch=compute_${architecture}`;
        await promisify(execFile)(nvcc, [...flags, "-ptx", target, "-o", out, `kernels/cuda/${source}`], { cwd: root });
      }
    }),
  );
  return folder;
}

let passed = 0;
let failed = 0;
for (const architecture of values.architectures.split(",")) {
  const folder = await compile(architecture);
  const cases = positionals.length > 0 ? positionals : ["cuda "];
  const { stdout, stderr, status } = spawnSync(executable, cases, {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: { ...process.env, EMULATED_GPU: `ptx=${folder}` },
  });
  const lines = stdout.split("\n");
  for (const line of lines)
    if (/^(ok|FAIL| {2})/.test(line)) console.log(line.replace(/^(ok|FAIL) /, `$1 ${architecture}: `));
  const [, ok = 0, bad = 0] = /^(\d+) passed, (\d+) failed$/m.exec(stdout) ?? [];
  passed += Number(ok);
  failed += Number(bad);
  if (status !== 0) process.stderr.write(stderr);
  if ((status !== 0 && Number(bad) === 0) || Number(ok) + Number(bad) === 0) {
    failed += 1;
    console.log(`FAIL ${architecture}: the tests ended with ${status ?? "a signal"} after ${ok} cases`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
