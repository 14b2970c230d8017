// npm run test:isa [-- --native] [-- NAME ...]: runs the tests that depend on a CPU's numerics, once per instruction
// set. Default: every instruction set of this machine except the engine's own choice. `npm test` covers that one, and
// runs the kernels' own tests and the golden models under all of them. --native: only the C++ tests, in seconds. The
// TypeScript tests take minutes each. Ends with one line `N passed, N failed`.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Engine } from "../../dist/index.js";

const known = ["scalar", "avx2", "avx512", "avx512bf16", "amx", "neon", "neonbf16"];
const isNative = (argument) => argument === "--native";
const nativeOnly = process.argv.some(isNative);
const asked = process.argv.slice(2).filter((argument) => !isNative(argument));
const unknown = asked.find((name) => !known.includes(name));
if (unknown) {
  console.error(`Expected --native or some of ${known.join(", ")} but received "${unknown}"`);
  process.exit(2);
}

/** The instruction set that an engine uses for `name`, or by default. undefined: this machine does not have it. */
async function isaOf(name) {
  if (name) process.env.GPT_OSS_ISA = name;
  else delete process.env.GPT_OSS_ISA;
  try {
    const engine = await Engine.load("synthetic:tiny", { backend: "cpu" });
    await engine.close();
    return engine.info.isa;
  } catch (error) {
    if (error.code === "UNSUPPORTED") return undefined;
    throw error;
  } finally {
    delete process.env.GPT_OSS_ISA;
  }
}

/** Tests that cover the instruction sets themselves, compute on the emulated GPU, or measure memory. */
const apart = [
  "golden-models.test.ts",
  "faithfulness.test.ts",
  "cuda.test.ts",
  "memory.test.ts",
  "packed-weights.test.ts",
];
const files = ["test/lib", "test/e2e"].flatMap((folder) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(".test.ts") && !apart.includes(name))
    .map((name) => path.join(folder, name))
    .filter((file) => folder === "test/e2e" || readFileSync(file, "utf8").includes("Engine.load(")),
);
const executable = [".", "Release"].map((folder) =>
  path.join(`.cmake/${process.platform}-${process.arch}`, folder, "oss_tests"),
);

const program = executable.find((file) => spawnSync(file, ["--list"]).status === 0) ?? executable[0];
const slow = JSON.parse(readFileSync("test/slow-native-cases.json", "utf8"));
const nativeCases = (spawnSync(program, ["--list"], { encoding: "utf8" }).stdout ?? "")
  .split("\n")
  .filter((name) => /^(engine|cpu_backend|text stream)/.test(name) && !slow.some((begin) => name.startsWith(begin)));

const totals = { passed: 0, failed: 0 };
function count(passed, failed, status) {
  totals.passed += passed;
  totals.failed += failed || (status === 0 ? 0 : 1);
}

const chosen = await isaOf();
for (const isa of asked.length > 0 ? asked : known) {
  if ((await isaOf(isa)) !== isa) {
    if (asked.length > 0) {
      console.error(`This machine does not have ${isa}`);
      totals.failed++;
    }
    continue;
  }
  if (isa === chosen && asked.length === 0) continue;
  console.log(`\nGPT_OSS_ISA=${isa}`);
  const env = { ...process.env, GPT_OSS_ISA: isa };

  const native = spawnSync(program, nativeCases, { encoding: "utf8", env });
  process.stdout.write(native.stdout ?? "");
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/m.exec(native.stdout ?? "") ?? [0, 0, 0];
  count(Number(passed), Number(failed), native.status);
  if (nativeOnly) continue;

  const report = path.join(os.tmpdir(), `gpt-oss-isa-${process.pid}.json`);
  const vitest = path.resolve("node_modules/vitest/vitest.mjs");
  const reporter = ["--reporter=json", `--outputFile=${report}`];
  const run = spawnSync(process.execPath, [vitest, "run", ...reporter, ...files], { encoding: "utf8", env });
  try {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, "utf8"));
    rmSync(report);
    for (const { name, message, assertionResults } of testResults) {
      if (message) console.log(`FAIL ${path.relative("", name)}: ${message}`);
      for (const { status, fullName, failureMessages } of assertionResults) {
        if (status === "failed")
          console.log(`FAIL ${path.relative("", name)} ${fullName}\n${failureMessages.join("\n")}`);
      }
    }
    count(numPassedTests, numFailedTests, run.status);
    console.log(`${numPassedTests} passed, ${numFailedTests} failed in ${files.length} files of test/lib and test/e2e`);
  } catch (error) {
    console.log(`FAIL vitest ended with ${run.status ?? run.signal}: ${error.message}\n${run.stderr}`);
    count(0, 1, 1);
  }
}

console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed > 0 ? 1 : 0);
