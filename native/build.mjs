// Builds the native part with CMake and puts the addon where lib/binding.ts and prebuildify look: build/Release.
//
//   node native/build.mjs [--target NAME] [--sanitize LIST] [--without-emulated-gpu] [--cuda-architectures LIST]
//
// With an nvcc, the CUDA module is built beside the addon; with Apple's Metal compiler, the Metal kernels are inside it.
// LIST is the one of kernels/cuda/CMakeLists.txt, e.g. "native". CC and CXX name another compiler, CXXFLAGS adds options,
// as everywhere with CMake.
//
// CMake works in .cmake/<platform>-<arch>, outside build/, because node-gyp wipes build/. Each architecture has its own
// directory, so that a cross build never reuses the wrong objects. A checkout keeps it for the next build; an installed
// package deletes it.
import { spawnSync } from "node:child_process";
import { accessSync, constants, copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { whyStale } from "./stale-build.mjs";

const root = path.resolve(import.meta.dirname, "..");

function option(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
const target = option("--target") ?? "gpt_oss";
const sanitize = option("--sanitize") ?? "";
const arch = (process.env.PREBUILD_ARCH ?? process.arch).split("+")[0];
const platform = process.env.PREBUILD_PLATFORM ?? process.platform;
const out = path.join(root, ".cmake", `${platform}-${arch}${sanitize ? `-${sanitize.replaceAll(",", "-")}` : ""}`);

function refuse(message) {
  console.error(`gpt-oss-node: ${message}`);
  process.exit(1);
}

try {
  accessSync(root, constants.W_OK);
} catch {
  refuse(
    `the addon is built in this folder, which cannot be written: ${root}. Build it as a user who may write there.`,
  );
}

/** Returns the first of these programs that is on PATH. */
function find(...programs) {
  return programs.find((program) => !spawnSync(program, ["--version"], { stdio: "ignore" }).error);
}
const maker = find("ninja", "make");
const missing = [
  [find("cmake"), "CMake >= 3.20", "cmake"],
  [find("g++", "clang++"), "a C++20 compiler, g++ >= 12", "g++"],
  [maker, "ninja or make", "ninja-build"],
].filter(([found]) => !found);
if (missing.length > 0) {
  refuse(
    `building the addon needs ${missing.map(([, what]) => what).join(", and ")}, not found on PATH ` +
      `(Debian/Ubuntu: apt-get install ${missing.map(([, , name]) => name).join(" ")}).`,
  );
}

const generator = maker === "ninja" ? "Ninja" : "Unix Makefiles";
const stale = whyStale(out, root, generator);
if (stale) {
  console.log(`gpt-oss-node: ${path.relative(root, out)} cannot be used any more, the build starts anew: ${stale}`);
  rmSync(out, { recursive: true, force: true });
}

function cmake(...args) {
  const run = spawnSync("cmake", args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (run.status !== 0) process.exit(run.status ?? 1);
}
// prebuildify --arch arm64 on an x86-64 machine, with STRIP=aarch64-linux-gnu-strip
const cross =
  platform === "linux" && arch === "arm64" && process.arch !== "arm64"
    ? ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"].concat(
        ["C", "CXX"].map((of, i) => `-DCMAKE_${of}_COMPILER=aarch64-linux-gnu-${["gcc", "g++"][i]}`),
      )
    : [];
cmake(
  ...["-S", root, "-B", out, "-G", generator, "--log-level=WARNING", "-DCMAKE_BUILD_TYPE=Release", ...cross],
  `-DOSS_SANITIZE=${sanitize}`,
  `-DOSS_EMULATED_GPU=${process.argv.includes("--without-emulated-gpu") ? "OFF" : "ON"}`,
  `-DOSS_CUDA_ARCHITECTURES=${option("--cuda-architectures") ?? "80;90a"}`,
);
function make(name) {
  cmake("--build", out, "--target", name, "--parallel", String(availableParallelism()));
}
make(target);

/** Installs a built file by renaming, so that a process that has the old file mapped keeps it. */
function install(name, folder, from = out) {
  const built = [path.join(from, name), path.join(from, "Release", name)].find(existsSync);
  if (!built) throw new Error(`The build left no ${name} in ${from}`);
  mkdirSync(folder, { recursive: true });
  const temporary = path.join(folder, `${name}.${process.pid}`);
  copyFileSync(built, temporary);
  renameSync(temporary, path.join(folder, name));
}

if (target === "gpt_oss") {
  const folder = path.join(root, "build", sanitize ? "Sanitize" : "Release");
  install("gpt_oss.node", folder);
  const withoutMetal = platform === "darwin" ? readFileSync(path.join(out, "metal-absent.txt"), "utf8") : "";
  if (withoutMetal) console.log(`gpt-oss-node: the Metal backend is left out: ${withoutMetal}`);
  const absent = readFileSync(path.join(out, "cuda-absent.txt"), "utf8");
  if (absent) {
    rmSync(path.join(folder, "libgptoss_cuda.so"), { force: true }); // from an earlier build
    console.log(`gpt-oss-node: the CUDA module is left out: ${absent}`);
  } else {
    make("gptoss_cuda"); // after the addon, which works without it
    install("libgptoss_cuda.so", folder);
  }
}

// Tests do not need the numbers of the benches; some check that they run.
if (target === "oss_tests" && !sanitize) make("oss_gpu_decode");

// For tests of the addon: the addon with an emulated Metal device, and beside it the CUDA module for the emulated GPU.
if (target === "oss_tests" && !sanitize && platform === "linux") {
  const folder = path.join(root, "build", "Emulated");
  make("gpt_oss_emulated");
  make("gptoss_cuda_emulated");
  make("oss_metal_facts"); // with the emulated device, too
  install("gpt_oss.node", folder, path.join(out, "Emulated"));
  install("libgptoss_cuda.so", folder, path.join(out, "Emulated"));
}

// Only a checkout has this file. An installed package needs only the addon, not 23 MB of objects and archives.
if (!existsSync(path.join(root, "tsconfig.build.json"))) {
  rmSync(path.join(root, ".cmake"), { recursive: true, force: true });
} else if (!sanitize) {
  install("compile_commands.json", path.join(root, "build")); // the path where clangd looks
}
