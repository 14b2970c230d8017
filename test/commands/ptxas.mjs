// npm run ptxas: checks the machine code of every kernel, without a GPU. It compiles each kernels/cuda/*.cu for each
// architecture and prints a table of registers, shared memory and instructions. It fails on spills, a stack frame,
// serialised wgmma, and an empty body on one architecture (a feature macro that is not defined there).
//
//   node test/commands/ptxas.mjs [--architectures 80,90a,…] [--json] [SOURCE ...]      "release": 80,90a,100f,120f
//
// Exits 1 when a kernel has a problem or does not compile, 2 without nvcc, when nothing was checked. Results are cached
// in .cmake/ptxas, by the content of the sources.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.resolve(import.meta.dirname, "../..");
const emptyBody = 256; // bytes of code of a kernel without statements: exit, and padding
/** The flags in kernels/cuda/CMakeLists.txt. */
export const flags = ["-std=c++20", "-O3", "-I.", "--expt-relaxed-constexpr", '-DOSS_CUDA_ARCHITECTURES="none"'];

export const noNvcc = "NOT RUN: no nvcc on PATH or in /usr/local/cuda/bin";

/** The compiler that CMake uses, or undefined. */
export function findNvcc() {
  const home = process.env.CUDA_HOME;
  return [home && path.join(home, "bin/nvcc"), "nvcc", "/usr/local/cuda/bin/nvcc"].find(
    (program) => program && spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0,
  );
}

/**
 * Parses the output of ptxas -v: [{ mangled, registers, shared, stack, spills }] per kernel, and its warnings as
 * [line].
 */
export function parsePtxas(text) {
  const kernels = [];
  const warnings = [];
  for (const line of text.split("\n")) {
    const entry = /Compiling entry function '(.*)' for/.exec(line);
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    const used = /Used (\d+) registers/.exec(line);
    const last = kernels.at(-1);
    if (entry) kernels.push({ mangled: entry[1], registers: 0, shared: 0, stack: 0, spills: 0 });
    else if (frame && last) {
      last.stack = Math.max(last.stack, Number(frame[1]));
      last.spills += Number(frame[2]) + Number(frame[3]);
    } else if (used && last) {
      last.registers = Number(used[1]);
      last.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
      last.stack = Math.max(last.stack, Number(/(\d+) bytes cumulative stack/.exec(line)?.[1] ?? 0));
    } else if (/warning|\(C\d+\)|serialize|setmaxnreg/i.test(line)) warnings.push(line.trim());
  }
  return { kernels, warnings };
}

/** Bytes of code of each kernel in a cubin, a 64-bit ELF file with one section .text.NAME per kernel. */
export function codeBytes(cubin) {
  const at = (offset) => Number(cubin.readBigUInt64LE(offset));
  const [table, size, count, names] = [at(40), cubin.readUInt16LE(58), cubin.readUInt16LE(60), cubin.readUInt16LE(62)];
  const text = at(table + names * size + 24);
  const bytes = new Map();
  for (let i = 0; i < count; i++) {
    const section = table + i * size;
    const start = text + cubin.readUInt32LE(section);
    const name = cubin.toString("latin1", start, cubin.indexOf(0, start));
    if (name.startsWith(".text.")) bytes.set(name.slice(".text.".length), at(section + 32));
  }
  return bytes;
}

/** The problems of a kernel; `largest`: the largest code size of this kernel on any architecture. */
export function problems(kernel, largest) {
  const found = [];
  if (kernel.spills > 0) found.push(`spills ${kernel.spills} bytes`);
  if (kernel.stack > 0) found.push(`has a stack frame of ${kernel.stack} bytes`);
  if (kernel.name !== "probe_kernel") {
    if (kernel.code <= emptyBody) found.push("is empty");
    else if (4 * kernel.code < largest) found.push(`has ${kernel.code} bytes of code, elsewhere ${largest}`);
  }
  return found;
}

function demangle(names) {
  const { stdout } = spawnSync("c++filt", { input: names.join("\n"), encoding: "utf8" });
  return (stdout ? stdout.split("\n") : names).map((name) =>
    name
      .replace(/\(anonymous namespace\)::|oss::cuda::|_GLOBAL__N__\w*::|oss::/g, "")
      .replace(/^void /, "")
      .replace(/\([^()]*\)$/, "")
      .replace(/\(\w+\)(?=\d)/g, ""),
  );
}

function files(folder, pattern) {
  return readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => pattern.test(name))
    .map((name) => path.join(folder, name))
    .sort();
}

async function compile(nvcc, source, architecture, folder) {
  const out = path.join(folder, `${path.basename(source)}.${architecture}.cubin`);
  const target = `-gencode=arch=compute_${architecture},code=sm_${architecture}`;
  const child = spawn(nvcc, [...flags, "-cubin", "-Xptxas", "-v", target, "-o", out, source], { cwd: root });
  let said = "";
  child.stdout.on("data", (chunk) => (said += chunk));
  child.stderr.on("data", (chunk) => (said += chunk));
  const status = await new Promise((resolve) => child.on("close", resolve));
  if (status !== 0) return { kernels: [], warnings: [], failed: said.trim() };
  const code = codeBytes(readFileSync(out));
  const parsed = parsePtxas(said);
  return { ...parsed, kernels: parsed.kernels.map((kernel) => ({ ...kernel, code: code.get(kernel.mangled) ?? 0 })) };
}

/**
 * Results for all sources and architectures: { kernels: [{ file, architecture, name, … , problems }], problems: [text]
 * }.
 */
export async function examine(nvcc, architectures, sources = files("kernels/cuda", /^[^/]*\.cu$/)) {
  const hash = (...parts) => createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
  const text = (file) => readFileSync(path.join(root, file), "utf8");
  const version = spawnSync(nvcc, ["--version"], { encoding: "utf8" }).stdout;
  const headers = files("kernels", /\.(h|cuh)$/).map(text);
  const kept = path.join(root, ".cmake", "ptxas");
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-ptxas-"));
  mkdirSync(kept, { recursive: true });
  const jobs = sources.flatMap((file) => architectures.map((architecture) => ({ file, architecture })));
  const results = new Map();
  const waiting = [...jobs];
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (let job = waiting.shift(); job; job = waiting.shift()) {
        const key = path.join(kept, `${hash(version, flags, job, headers, text(job.file))}.json`);
        const result = existsSync(key)
          ? JSON.parse(readFileSync(key, "utf8"))
          : await compile(nvcc, job.file, job.architecture, folder);
        if (!result.failed) writeFileSync(key, JSON.stringify(result));
        results.set(job, result);
      }
    }),
  );
  rmSync(folder, { recursive: true });

  const all = jobs.flatMap((job) => results.get(job).kernels.map((kernel) => ({ ...job, ...kernel })));
  const names = demangle(all.map((kernel) => kernel.mangled));
  const largest = new Map();
  for (const { file, mangled, code } of all) {
    const key = `${file} ${mangled}`;
    largest.set(key, Math.max(largest.get(key) ?? 0, code));
  }
  const kernels = all.map(({ mangled, ...kernel }, i) => {
    const named = { ...kernel, name: names[i] };
    return { ...named, problems: problems(named, largest.get(`${kernel.file} ${mangled}`)) };
  });
  return {
    kernels,
    problems: [
      ...jobs.flatMap((job) => {
        const { failed, warnings } = results.get(job);
        return (failed ? [`does not compile: ${failed}`] : warnings).map(
          (why) => `${job.file} for ${job.architecture}: ${why}`,
        );
      }),
      ...kernels.flatMap(({ file, architecture, name, problems }) =>
        problems.map((why) => `${file} for ${architecture}: ${name} ${why}`),
      ),
    ],
  };
}

function print({ kernels, problems }) {
  const rows = [["file", "arch", "registers", "shared", "stack", "spills", "instructions", "kernel"]];
  for (const { file, architecture, name, registers, shared, stack, spills, code } of kernels) {
    rows.push([path.basename(file), architecture, registers, shared, stack, spills, code / 16, name].map(String));
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    const cells = row.map((cell, i) => (i >= 2 && i < 7 ? cell.padStart(widths[i]) : cell.padEnd(widths[i])));
    console.log(cells.join("  ").trimEnd());
  }
  for (const problem of problems) console.log(`PROBLEM ${problem}`);
  console.log(`${kernels.length} kernels compiled, ${problems.length} problems`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { architectures: { type: "string" }, json: { type: "boolean" } },
  });
  const list = values.architectures === "release" ? "80,90a,100f,120f" : (values.architectures ?? "80,90a");
  const nvcc = findNvcc();
  if (!nvcc) {
    console.log(noNvcc);
    process.exit(2);
  }
  const missing = positionals.filter((source) => !existsSync(path.join(root, source)));
  if (missing.length > 0) {
    console.error(`no such source: ${missing.join(", ")}; expected paths such as kernels/cuda/router.cu`);
    process.exit(1);
  }
  const found = await examine(nvcc, list.split(","), positionals.length > 0 ? positionals : undefined);
  if (values.json) console.log(JSON.stringify(found));
  else print(found);
  process.exitCode = found.problems.length > 0 ? 1 : 0;
}
