// npm run sanitize: AddressSanitizer and UndefinedBehaviorSanitizer for the C++ tests (with leak detection) and for the
// addon inside Node; ThreadSanitizer for the engine and its threads. Ends with one line `N passed, N failed`.
//
//   node test/commands/sanitize.mjs [--without-gpu]
//
// --without-gpu: builds without the emulated GPU, which saves a third of the compilation.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const totals = { passed: 0, failed: 0 };

function run(command, args, env) {
  console.log(`\n$ ${command} ${args.join(" ")}`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  return status === 0;
}

/** Returns the stdout of a command, and shows it as well. */
function capture(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...env } });
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      process.stdout.write(text);
    });
    child.once("close", (status) => resolve({ ok: status === 0, stdout }));
  });
}

const gpu = process.argv.includes("--without-gpu") ? ["--without-emulated-gpu"] : [];

function build(sanitize, target) {
  const build = ["native/build.mjs", "--sanitize", sanitize, "--target", target, ...gpu];
  if (!run(process.execPath, build)) process.exit(1);
}

/**
 * Runs the C++ tests in `wanted`, in one process per core at a time. A sanitizer's report ends its process, which
 * counts as a failure.
 */
async function nativeTests(sanitize, wanted, env) {
  const folder = path.join(root, ".cmake", `${process.platform}-${process.arch}-${sanitize.replaceAll(",", "-")}`);
  const executable = [path.join(folder, "oss_tests"), path.join(folder, "Release", "oss_tests")].find(existsSync);
  const names = spawnSync(executable, ["--list"], { encoding: "utf8" }).stdout.trim().split("\n").filter(wanted);
  const processes = os.availableParallelism();
  console.log(`\n${names.length} C++ tests with -fsanitize=${sanitize} in ${processes} processes at a time`);
  // Some tests take minutes, most take no time: each process that ends makes room for the next few tests.
  const parts = [];
  while (names.length > 0) parts.push(names.splice(0, 8));
  const worker = async () => {
    for (let part = parts.shift(); part; part = parts.shift()) {
      const { ok, stdout } = await capture(executable, part, env);
      const [, passed, failed] = /^(\d+) passed, (\d+) failed$/m.exec(stdout) ?? [0, 0, 0];
      totals.passed += Number(passed);
      totals.failed += Number(failed) + (ok || Number(failed) > 0 ? 0 : 1);
    }
  };
  await Promise.all(Array.from({ length: processes }, worker));
}

function library(name) {
  return spawnSync("g++", [`-print-file-name=${name}`], { encoding: "utf8" }).stdout.trim();
}

/** Cases that take minutes each under a sanitizer. Other cases run the same code. */
const slow = JSON.parse(readFileSync(path.join(root, "test/slow-native-cases.json"), "utf8"));

/**
 * UndefinedBehaviorSanitizer checks an object's type through a pipe, and reports a wrong type when it cannot open one.
 */
const withoutFiles = ["refused: loading with too few files"];

build("address,undefined", "oss_tests");
/**
 * Tests that repeat an engine's work for every allocation that can fail: they take minutes; the cases below take
 * seconds.
 */
const everyPlace = ["refused: a step without", "refused: the k-th mapping"];
const left = [...slow, ...withoutFiles, ...everyPlace];
await nativeTests("address,undefined", (name) => !left.some((begin) => name.startsWith(begin)), {
  ASAN_OPTIONS: "detect_stack_use_after_return=1",
  UBSAN_OPTIONS: "print_stacktrace=1",
});

build("address,undefined", "gpt_oss");
const report = path.join(os.tmpdir(), `gpt-oss-sanitize-${process.pid}.json`);
run(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    // Tests in which the addon does the work. memory.test.ts is not among them: a sanitizer changes the memory that it
    // measures. The kernels ran above, on every instruction set.
    ...[
      "engine",
      "generation/options",
      "engine-sharing",
      "bad-checkpoints",
      "tokenizer/tokenizer",
      "generation/sampling",
      "kernels/buffers",
      "kernels/misuse",
    ].map((name) => `test/lib/${name}.test.ts`),
    "--testTimeout=600000",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
  ],
  {
    LD_PRELOAD: `${library("libasan.so")} ${library("libubsan.so")}`,
    // Node does not free all memory at exit, so the C++ tests check for leaks instead.
    ASAN_OPTIONS: "detect_leaks=0",
    UBSAN_OPTIONS: "print_stacktrace=1",
    NODE_OPTIONS: `--require ${path.join(root, "test/support/sanitized-addon.cjs")}`,
  },
);
if (existsSync(report)) {
  const { numPassedTests, numFailedTests, numFailedTestSuites, success } = JSON.parse(readFileSync(report, "utf8"));
  totals.passed += numPassedTests;
  totals.failed += numFailedTests || (success ? 0 : Math.max(1, numFailedTestSuites));
  rmSync(report);
} else {
  totals.failed += 1; // the run ended without a report
}

build("thread", "oss_tests");
const withThreads = /^(engine|grammar slices|job thread|packed file|thread_pool|trace)/;
await nativeTests("thread", (name) => withThreads.test(name) && !slow.some((begin) => name.startsWith(begin)), {
  TSAN_OPTIONS: "halt_on_error=1",
});

console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 ? 0 : 1);
