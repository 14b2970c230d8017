// Shared by the steps of gpu:check and metal:check: the folders, how programs run, and where results go.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { runProcess } from "./process.mjs";
import { roofShare } from "./report.mjs";
import { jsonLine } from "./results.mjs";

export const root = path.resolve(import.meta.dirname, "../..");
export const build = path.join(root, ".cmake", `${process.platform}-${process.arch}`);

/** Returns the path of a program in CMake's folder, or undefined. */
export const program = (name) => [".", "Release"].map((folder) => path.join(build, folder, name)).find(existsSync);

/** Returns the first of these programs that runs. */
export const find = (...names) =>
  names.find((name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0);

/** Returns { gpu, driver } of the first GPU, or { why } there is none. */
export function findGpu() {
  let said;
  try {
    said = execFileSync("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader", "-i", "0"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    if (error.code === "ENOENT")
      return { why: "there is no NVIDIA GPU with a driver on this machine (nvidia-smi was not found)." };
    const [first] = String(error.stdout || error.stderr || error.message)
      .trim()
      .split("\n");
    return { why: `nvidia-smi finds no GPU: ${first}` };
  }
  const [gpu, driver] = said.trim().split(", ");
  return { gpu, driver };
}

/** The commit of the checkout or of the bundle, with a "+" if tracked files differ from it. */
export function findCommit() {
  const git = (...args) => spawnSync("git", args, { cwd: root, encoding: "utf8" });
  const head = git("rev-parse", "--short", "HEAD");
  if (head.status === 0) {
    const changed = git("status", "--porcelain", "--untracked-files=no").stdout.trim() !== "";
    return head.stdout.trim() + (changed ? "+" : "");
  }
  const bundled = path.join(root, ".gpu", "commit");
  return existsSync(bundled) ? readFileSync(bundled, "utf8").trim() : "unknown";
}

export class Session {
  /** Receives the rows. */
  results;
  /** The running step, and its counts so far. */
  step = "";
  counts = { passed: 0, failed: 0, skipped: 0 };
  /** Set by a step after which the others cannot run. */
  stop = false;

  /** @param options the options of the command line */
  constructor({ emulated, options, backend }) {
    this.emulated = emulated;
    this.backend = backend;
    this.options = options;
    this.scratch = mkdtempSync(path.join(tmpdir(), "gpt-oss-gpu-"));
    this.inMemory = existsSync("/dev/shm") ? mkdtempSync("/dev/shm/gpt-oss-gpu-") : this.scratch;
    process.env.OSS_SOURCE_DIR ??= root; // programs that were built on another machine find golden files here
    process.once("exit", () => {
      for (const folder of [this.scratch, this.inMemory]) rmSync(folder, { recursive: true, force: true });
    });
  }

  /** A measurement on an emulator is not valid and is dropped; tests that ran on it are kept. */
  addRow(row) {
    if (!this.emulated || row.bench === "test") this.results.add(row);
  }
  log(text) {
    this.results.log(this.step, text);
  }
  /** Adds to the counts of the step, and prints the reason. */
  count(counts, why) {
    for (const [name, count] of Object.entries(counts)) this.counts[name] += count;
    if (why) this.log(why);
  }
  /** The share of the roof that a timed row reached. */
  withShare(row) {
    const { bytes, flops, microseconds } = row;
    if (microseconds === undefined || bytes === undefined || !this.results.roofs.readBytesPerSecond) return row;
    return { ...row, roofShare: roofShare({ bytes, flops, seconds: microseconds / 1e6 }, this.results.roofs) };
  }

  run(command, args, options) {
    return runProcess(command, args, { cwd: root, ...options });
  }
  node(args, options) {
    return this.run(process.execPath, args, options);
  }
  /** Runs a program, and at once adds a row for each JSON line that it prints. `row` makes the row. */
  async rows(command, args, { row = (line) => line, ...options }) {
    return this.run(command, args, {
      ...options,
      onLine: (text) => {
        const line = jsonLine(text);
        const made = line && row(line);
        if (made) this.addRow(made);
      },
    });
  }
  /** The environment in which the package uses the GPU, or the emulated one. */
  device(machine) {
    const emulator = { NODE_OPTIONS: `--require ${path.join(root, "test/support/emulated-addon.cjs")}` };
    const variable = this.backend === "metal" ? "EMULATED_METAL" : "EMULATED_GPU";
    return {
      GPT_OSS_BACKEND: this.backend,
      ...(this.emulated && { ...emulator, ...(machine && { [variable]: machine }) }),
    };
  }
  /** The program that runs the C++ tests. */
  get tests() {
    return program("oss_tests");
  }
  /**
   * A program uses the module in its folder. Returns a copy beside the emulated GPU's module, or the program itself.
   */
  moduleBeside(file) {
    if (!this.emulated) return file;
    const copy = path.join(this.scratch, path.basename(file));
    copyFileSync(file, copy);
    copyFileSync(path.join(root, "build/Emulated/libgptoss_cuda.so"), path.join(this.scratch, "libgptoss_cuda.so"));
    return copy;
  }
}
