// Builds the C++ tests for 64-bit ARM and runs them in an emulator: the NEON kernels, without an ARM machine.
//
//   node test/commands/cross-arm64.mjs [--without-gpu] [BEGIN_OF_A_NAME ...]      default: all cases
//
// --without-gpu: builds without the emulated GPU, which saves a third of the compilation.
//
// The last line is "N passed, N failed". Exits 0 when no test failed, 1 when a test or the build failed, 2 when a
// program is missing, so that no test ran.
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const out = path.join(root, ".cmake", "linux-arm64-emulated");

const isWithoutGpu = (argument) => argument === "--without-gpu";
const withoutGpu = process.argv.some(isWithoutGpu);
const wanted = process.argv.slice(2).filter((argument) => !isWithoutGpu(argument));

function runs(program) {
  return !spawnSync(program, ["--version"], { stdio: "ignore" }).error;
}
const emulator = ["qemu-aarch64-static", "qemu-aarch64"].find(runs);
const missing = ["cmake", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"].filter((program) => !runs(program));
if (!emulator) missing.push("qemu-aarch64-static");
if (missing.length > 0) {
  console.error(
    `NOT RUN: the tests on 64-bit ARM need ${missing.join(", ")}, not found on PATH. ` +
      "On Debian or Ubuntu: apt-get install cmake g++-aarch64-linux-gnu qemu-user-static",
  );
  process.exit(2);
}

function step(program, ...args) {
  const { status } = spawnSync(program, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) {
    console.error(`${program} ${args[0]} failed with status ${status}`);
    process.exit(1);
  }
}
step(
  "cmake",
  ...["-S", root, "-B", out, "--log-level=WARNING"],
  "-DOSS_ADDON=OFF",
  `-DOSS_EMULATED_GPU=${withoutGpu ? "OFF" : "ON"}`,
  "-DCMAKE_SYSTEM_NAME=Linux",
  "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
  "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
  "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
  "-DCMAKE_EXE_LINKER_FLAGS=-static", // the emulator then needs no ARM libraries
);
step("cmake", "--build", out, "--target", "oss_tests", "--parallel", String(availableParallelism()));

// all extensions of the emulator: some units need those for bf16 products
const { status } = spawnSync(emulator, ["-cpu", "max", path.join(out, "oss_tests"), ...wanted], {
  stdio: "inherit",
});
process.exit(status === 0 ? 0 : 1);
