// npm run gpu:check: everything that only a GPU can tell, within nine minutes. Builds for the GPU present, runs every kernel
// and engine test on it, measures, and writes bench/results/<gpu>-<date>-<commit>.json.
//
//   node bench/gpu/check.mjs [--budget SECONDS] [--out FOLDER] [--only STEP,…] [--emulated]
//
// Works without a network, and in a bundle (bundle.mjs) without npm. The file is rewritten after every step, so that an
// interrupted run leaves what it knew. Exits 1 with one sentence where there is no GPU, and when a test fails.
// --emulated tries the program itself, on the emulated GPU with tiny shapes: nothing is written into bench/results, and
// no measurement is kept.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, homedir, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { watchClocks } from "./clocks.mjs";
import { counterArguments, counterRows } from "./counters.mjs";
import { knobs, variantsOf } from "./knobs.mjs";
import { runProcess } from "./process.mjs";
import { allowance, floorRow, kernelRow, nativeCounts, Report, roofShare } from "./report.mjs";
import { targetTable } from "./targets.mjs";
import { tryKnobs } from "./try-knobs.mjs";
import { buildVariants } from "./variants.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const { values: flags } = parseArgs({
  options: {
    budget: { type: "string", default: "540" },
    out: { type: "string" },
    only: { type: "string" },
    emulated: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const { emulated } = flags;
const started = Date.now();
const remaining = () => Number(flags.budget) - (Date.now() - started) / 1000;
const build = path.join(root, ".cmake", `${process.platform}-${process.arch}`);
const scratch = mkdtempSync(path.join(tmpdir(), "gpt-oss-gpu-"));
const inMemory = existsSync("/dev/shm") ? mkdtempSync("/dev/shm/gpt-oss-gpu-") : scratch;
process.once("exit", () => {
  for (const folder of [scratch, inMemory]) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** Ends the process with the sentence that says why there is nothing to check. */
function refuse(sentence) {
  console.error(`gpu:check: ${sentence}`);
  process.exit(1);
}

const run = (command, args, options) => runProcess(command, args, { cwd: root, ...options });
const node = (args, options) => run(process.execPath, args, options);

function jsonLines(text) {
  return text.split("\n").flatMap((line) => {
    if (!line.startsWith("{")) return [];
    try {
      return [JSON.parse(line)];
    } catch {
      return []; // cut off where the process was ended
    }
  });
}
const last = (text, lines) => text.trimEnd().split("\n").slice(-lines).join("\n");
const program = (name) => [".", "Release"].map((folder) => path.join(build, folder, name)).find(existsSync);

/** Name and driver of the first GPU. */
function findGpu() {
  if (emulated) return { gpu: "emulated", driver: "none" };
  let said;
  try {
    said = execFileSync("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader", "-i", "0"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    if (error.code === "ENOENT")
      refuse("there is no NVIDIA GPU with a driver on this machine (nvidia-smi is not there).");
    refuse(
      `nvidia-smi finds no GPU: ${
        String(error.stdout || error.stderr || error.message)
          .trim()
          .split("\n")[0]
      }`,
    );
  }
  const [gpu, driver] = said.trim().split(", ");
  return { gpu, driver };
}

/** Of the checkout, or of the one that the bundle was made from. */
function findCommit() {
  const git = (...args) => spawnSync("git", args, { cwd: root, encoding: "utf8" });
  const head = git("rev-parse", "--short", "HEAD");
  if (head.status === 0) {
    const changed = git("status", "--porcelain", "--untracked-files=no").stdout.trim() !== "";
    return head.stdout.trim() + (changed ? "+" : "");
  }
  const bundled = path.join(root, ".gpu", "commit");
  return existsSync(bundled) ? readFileSync(bundled, "utf8").trim() : "unknown";
}

function save() {
  mkdirSync(out, { recursive: true });
  writeFileSync(path.join(out, report.fileName), report.toString());
}
/** What an emulator measures is no measurement. */
function addRow(row) {
  if (!emulated) report.result.rows.push(row);
}
function count(step, { passed, failed, skipped }, why) {
  report.count({ passed, failed, skipped });
  if (why) report.log(step, why);
}

const tiny = emulated ? ["--tokens", "1,3", "--prefill", "20", "--context", "100,200"] : [];
const vitestFiles = emulated
  ? ["test/lib/errors.test.ts"]
  : [
      "chat/demo-conversations",
      "chat/conversation",
      "engine",
      "generation/options",
      "engine-sharing",
      "generation/streams",
    ].map((name) => `test/lib/${name}.test.ts`);

async function engineBench(step, model, seconds, ...args) {
  const until = Date.now() + (seconds - 15) * 1000;
  const said = await node(["bench/gpu/engine.mjs", model, "--until", String(until), ...args], {
    seconds,
    env: device(),
  });
  for (const line of jsonLines(said.text)) {
    const { bytes, flops, microseconds } = line;
    const timed = microseconds !== undefined && report.result.roofs.readBytesPerSecond;
    addRow({
      ...line,
      ...(timed && { roofShare: roofShare({ bytes, flops, seconds: microseconds / 1e6 }, report.result.roofs) }),
    });
  }
  if (said.ok) return count(step, { passed: 1 });
  count(step, { failed: 1 }, last(said.text, 30));
}
/** A checkpoint in files, as large as a released one, loaded by one process after the other. */
async function loadBench(step, model, seconds) {
  const until = Date.now() + seconds * 1000;
  const left = () => (until - Date.now()) / 1000;
  const written = await node(["bench/gpu/checkpoint.mjs", model, scratch, inMemory], { seconds, show: false });
  if (written.status === 2 || written.late) return count(step, { skipped: 1 }, `NOT RUN: ${written.text}`);
  if (!written.ok) return count(step, { failed: 1 }, last(written.text, 10));
  report.log(step, `written in ${Math.round(seconds - left())} s`);
  const folder = written.text.trim();
  const emulator = { EMULATED_GPU: "memory_bytes=500000000" };
  for (const run of ["the first", "again", "again"]) {
    const said = await node(["bench/gpu/load.mjs", folder], {
      seconds: left(),
      env: { ...device(), ...(emulated && emulator) },
    });
    if (said.late) return count(step, { skipped: 1 }, `NOT RUN ${run}: ${last(said.text, 1)}`);
    if (!said.ok) return count(step, { failed: 1 }, last(said.text, 20));
    for (const line of jsonLines(said.text)) addRow({ ...line, model, run });
  }
  count(step, { passed: 1 });
  rmSync(folder, { recursive: true });
}
async function kernelBench(step, model, seconds, ...args) {
  let bench = program("oss_gpu_bench");
  if (emulated) {
    bench = path.join(scratch, "oss_gpu_bench"); // it takes the module that lies beside it
    copyFileSync(program("oss_gpu_bench"), bench);
    copyFileSync(path.join(root, "build/Emulated/libgptoss_cuda.so"), path.join(scratch, "libgptoss_cuda.so"));
  }
  const said = await run(bench, [model, "--seconds", String(seconds - 10), ...args], { seconds });
  if (report.result.roofs.readBytesPerSecond)
    for (const line of jsonLines(said.text)) addRow(kernelRow(model, line, report.result.roofs));
  count(step, said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 30));
}
async function nativeTests(step, seconds, names, before = []) {
  const [command, ...args] = [...before, program("oss_tests"), ...(emulated ? [] : ["--gpu"]), ...names];
  const said = await run(command, args, { seconds, show: false });
  const { passed, failed, failures } = nativeCounts(said.text);
  const broke = !said.ok && failed === 0 ? 1 : 0;
  console.log(`${passed} passed, ${failed + broke} failed`);
  count(step, { passed, failed: failed + broke }, [...failures, ...(said.ok ? [] : [last(said.text, 20)])].join("\n"));
  return said;
}
/** What makes the package take the emulated GPU. */
function device() {
  return emulated
    ? { NODE_OPTIONS: `--require ${path.join(root, "test/support/emulated-addon.cjs")}`, GPT_OSS_BACKEND: "cuda" }
    : { GPT_OSS_BACKEND: "cuda" };
}
async function sanitizer(step, tool, seconds) {
  const [found] = ["compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer"].filter(
    (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0,
  );
  if (!found || emulated) return count(step, { skipped: 1 }, `NOT RUN: no compute-sanitizer on this machine`);
  const cases = [
    "cuda rms_norm",
    "cuda embed",
    "cuda gather_rows",
    "cuda router",
    "cuda linear",
    "cuda qkv",
    "cuda sample",
    "cuda norm_linear",
    "cuda norm_qkv",
    "cuda few_experts",
  ];
  const said = await nativeTests(
    step,
    seconds,
    [...cases, "cuda attention: page", "cuda experts: against"],
    [found, "--tool", tool, "--error-exitcode", "9"],
  );
  if (/not supported/i.test(said.text)) report.log(step, "NOT RUN: compute-sanitizer does not support this device");
  report.log(
    step,
    said.text
      .split("\n")
      .filter((line) => line.startsWith("========="))
      .slice(-12)
      .join("\n"),
  );
}

/** Every value of the knobs as a module of its own, a decode step with each. */
async function knobBench(step, seconds, rounds) {
  if (!program("oss_gpu_decode")) return count(step, { failed: 1 }, "NOT RUN: oss_gpu_decode is not built");
  const from = Date.now();
  const until = from + (seconds - 5) * 1000;
  // Two are enough to see that all of it works.
  const variants = variantsOf(knobs).filter(
    ({ name }) => !emulated || ["experts-3-stages", "pages-of-a-split-2"].includes(name),
  );
  let built;
  try {
    built = await buildVariants(variants, {
      root,
      build,
      target: emulated ? "gptoss_cuda_emulated" : "gptoss_cuda",
      program: program("oss_gpu_decode"),
      folder: path.join(build, emulated ? "Emulated/knobs" : "knobs"),
      until,
    });
  } catch (error) {
    return count(step, { failed: 1 }, error.message);
  }
  const good = variants.filter(({ name }) => built.get(name).program).length;
  console.log(`${good} of ${variants.length} variants built in ${Math.round((Date.now() - from) / 1000)} s`);
  const { passed, skipped, failures } = await tryKnobs(variants, {
    rounds,
    built,
    until,
    addRow,
    run: async (file, args, seconds) => {
      const said = await run(file, args, { seconds, show: false });
      return { ...said, lines: jsonLines(said.text) };
    },
  });
  for (const failure of failures) console.log(`FAIL ${failure}`);
  count(step, { passed, skipped, failed: failures.length }, failures.join("\n"));
}

/** The 20b, whose steps are the same launches as the 120b's: what is profiled has its memory saved and restored. */
async function counters(seconds) {
  const [ncu] = ["ncu", "/usr/local/cuda/bin/ncu"].filter(
    (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0,
  );
  if (!ncu) return count("counters", { skipped: 1 }, "NOT RUN: no ncu on this machine");
  if (!program("oss_gpu_decode")) return count("counters", { failed: 1 }, "NOT RUN: oss_gpu_decode is not built");
  const until = Date.now() + seconds * 1000;
  const decode = ["synthetic:20b", "--batches", "1", "--prompt", "2048", "--samples", "1", "--steps", "8"];
  for (const all of [true, false]) {
    const said = await run(ncu, counterArguments(program("oss_gpu_decode"), decode, { all }), {
      seconds: (until - Date.now()) / 1000,
      show: false,
    });
    const rows = counterRows("20b", said.text);
    for (const row of rows) addRow(row);
    if (rows.length > 0) return count("counters", { passed: 1 });
    report.log("counters", last(said.text, 12));
  }
  count("counters", { skipped: 1 }, "NOT RUN: ncu reads no counters here");
}

/** A Python that can run test/oracle/second_oracle.py, or why there is none. */
function findPython() {
  let why;
  for (const python of ["python3", "python"]) {
    const lacking =
      "import importlib.util as u; print(*[m for m in ('numpy', 'torch', 'transformers') if not u.find_spec(m)], sep=', ')";
    const { status, stdout } = spawnSync(python, ["-c", lacking], { encoding: "utf8" });
    if (status !== 0) continue;
    if (stdout.trim() === "") return { python };
    why ??= `${python} has no ${stdout.trim()}`;
  }
  return { why: why ?? "no python3 on this machine" };
}

// `asked`: only when --only names it
const all = [
  {
    name: "build",
    least: 45,
    most: 240,
    async run(seconds) {
      if (emulated) return;
      const first = await node(["native/build.mjs", "--cuda-architectures", "native"], { seconds });
      const benches = [
        "oss_load_bench",
        "oss_gpu_bench",
        "oss_gpu_roofs",
        "oss_gpu_floor",
        "oss_gpu_stages",
        "oss_gpu_decode",
      ];
      const targets = ["oss_tests", ...benches];
      const second =
        first.ok &&
        (await run("cmake", ["--build", build, "--parallel", String(availableParallelism()), "--target", ...targets], {
          seconds,
        }));
      const failed = first.ok ? second : first;
      if (!failed.ok) {
        report.log("build", last(failed.text, 60));
        save();
        refuse(`the build failed; see ${path.join(out, report.fileName)}`);
      }
      // what is tested is what is packed: the module beside the addon, and the same beside the test executable
      copyFileSync(
        path.join(root, "build/Release/libgptoss_cuda.so"),
        path.join(path.dirname(program("oss_tests")), "libgptoss_cuda.so"),
      );
      if (!existsSync(path.join(root, "dist/index.js"))) {
        const tsc = await node(["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], {
          seconds: remaining(),
        });
        if (!tsc.ok) refuse(`dist/ is missing and cannot be built: ${last(tsc.text, 3)}`);
      }
    },
  },
  {
    name: "roofs",
    least: 5,
    most: 30,
    async run(seconds) {
      if (emulated) return;
      const said = await run(program("oss_gpu_roofs"), [], { seconds });
      [report.result.roofs = {}] = jsonLines(said.text);
      count("roofs", said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
    },
  },
  {
    name: "floor",
    least: 5,
    most: 40,
    async run(seconds) {
      if (emulated) return;
      const said = await run(program("oss_gpu_floor"), [], { seconds });
      for (const line of jsonLines(said.text)) addRow(floorRow(line, report.result.roofs));
      count("floor", said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
    },
  },
  {
    name: "kernels",
    least: 15,
    most: 90,
    run: (seconds) => nativeTests("kernels", seconds, emulated ? ["cuda rms_norm"] : ["cuda"]),
  },
  {
    name: "engine:20b",
    least: 40,
    most: 90,
    run: (seconds) =>
      emulated
        ? engineBench(
            "engine:20b",
            "synthetic:tiny",
            seconds,
            "--batches",
            "1@24,4",
            "--prefill",
            "20",
            "--prompt",
            "16",
            "--decode",
            "4",
          )
        : engineBench("engine:20b", "synthetic:20b", seconds),
  },
  {
    name: "engine:120b",
    least: 40,
    most: 110,
    run: (seconds) => (emulated ? undefined : engineBench("engine:120b", "synthetic:120b", seconds)),
  },
  {
    name: "load:host",
    least: 10,
    most: 40,
    async run(seconds) {
      if (emulated) return;
      const threads = [1, 8, 16].filter((n) => n <= availableParallelism()).join();
      const args = [tmpdir(), "--gigabytes", "2", "--threads", threads, "--repeats", "5"];
      const said = await run(program("oss_load_bench"), args, { seconds });
      for (const line of jsonLines(said.text)) addRow({ bench: "load host", ...line });
      count("load:host", said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
    },
  },
  {
    name: "load:20b",
    least: 30,
    most: 120,
    run: (seconds) => loadBench("load:20b", emulated ? "tiny" : "20b", seconds),
  },
  {
    name: "load:120b",
    least: 60,
    most: 240,
    asked: true,
    run: (seconds) => (emulated ? undefined : loadBench("load:120b", "120b", seconds)),
  },
  {
    name: "node",
    least: 20,
    most: 90,
    async run(seconds) {
      const file = path.join(scratch, "vitest.json");
      const vitest = "node_modules/vitest/vitest.mjs";
      if (!existsSync(path.join(root, vitest)))
        return count("node", { skipped: 1 }, "NOT RUN: vitest is not installed");
      const said = await node(
        [vitest, "run", ...vitestFiles, "--reporter=default", "--reporter=json", `--outputFile.json=${file}`],
        { seconds, env: device(), show: false },
      );
      if (!existsSync(file)) return count("node", { failed: 1 }, last(said.text, 40));
      const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(readFileSync(file, "utf8"));
      const failures = testResults.flatMap(({ assertionResults, message }) => [
        ...assertionResults
          .filter(({ status }) => status === "failed")
          .map(({ fullName, failureMessages }) => `FAIL ${fullName}: ${failureMessages.join(" ").split("\n")[0]}`),
        ...(message ? [message.split("\n")[0]] : []),
      ]);
      console.log(`${numPassedTests} passed, ${numFailedTests} failed`);
      count("node", { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests }, failures.join("\n"));
    },
  },
  {
    name: "oracle",
    least: 45, // half of it to write 3.3 GB
    most: 120,
    async run(seconds) {
      const { python, why } = findPython();
      if (!python) return count("oracle", { skipped: 1 }, `NOT RUN: ${why}`);
      if (!existsSync(path.join(root, "node_modules/tsx")))
        return count("oracle", { skipped: 1 }, "NOT RUN: tsx is not installed");
      const until = Date.now() + seconds * 1000;
      const [model, cases] = ["oracle", "oracle-cases"].map((name) => path.join(scratch, name));
      // Of two layers, one with a window: with more, rounding to bf16 sends tokens to other experts, and less can be told.
      const shape = [
        "--set",
        "num_hidden_layers=2",
        ...(emulated ? ["--set", "sliding_window=8"] : ["--shape", "real"]),
      ];
      let said = { ok: true, text: "" };
      for (const [command, args] of [
        [python, ["test/oracle/make_checkpoint.py", model, ...shape]],
        [python, ["test/oracle/second_oracle.py", model, "--out", cases, ...(emulated ? ["--prompts", "20,5"] : [])]],
        [process.execPath, ["--import", "tsx", "test/oracle/compare.ts", model, cases, "--backend", "cuda"]],
      ]) {
        if (said.ok)
          said = await run(command, args, {
            seconds: (until - Date.now()) / 1000,
            env: command === python ? {} : device(),
          });
      }
      for (const row of jsonLines(said.text)) addRow(row);
      const { passed, failed, failures } = nativeCounts(said.text);
      count("oracle", { passed, failed }, said.ok ? "" : [...failures, last(said.text, 10)].join("\n"));
      for (const folder of [model, cases]) rmSync(folder, { recursive: true, force: true });
    },
  },
  {
    name: "repeatable",
    least: 15,
    most: 60,
    async run(seconds) {
      const args = emulated ? ["synthetic:tiny", "40", "4", "3"] : ["synthetic:20b"];
      const said = await node(["bench/gpu/repeatable.mjs", ...args], { seconds, env: device() });
      for (const row of jsonLines(said.text)) addRow(row);
      const { passed, failed, failures } = nativeCounts(said.text);
      count("repeatable", { passed, failed }, said.ok ? "" : [...failures, last(said.text, 10)].join("\n"));
    },
  },
  {
    name: "bench:20b",
    least: 15,
    most: 60,
    run: (seconds) => kernelBench("bench:20b", emulated ? "tiny" : "20b", seconds, ...tiny),
  },
  {
    name: "bench:120b",
    least: 10,
    most: 40,
    run: (seconds) => (emulated ? undefined : kernelBench("bench:120b", "120b", seconds)),
  },
  {
    name: "stages",
    least: 10,
    most: 60,
    async run(seconds) {
      if (emulated) return;
      for (const [model, share] of [
        ["120b", 0.6],
        ["20b", 0.4],
      ]) {
        const limit = seconds * share;
        const said = await run(program("oss_gpu_stages"), [`synthetic:${model}`, "--seconds", String(limit / 2)], {
          seconds: limit,
        });
        for (const line of jsonLines(said.text)) addRow({ bench: "stage", model, ...line });
        count("stages", said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
      }
    },
  },
  {
    name: "counters",
    least: 30,
    most: 120,
    asked: true,
    run: (seconds) => (emulated ? undefined : counters(seconds)),
  },
  {
    name: "knobs",
    least: 60,
    most: 500,
    asked: true,
    run: (seconds) =>
      knobBench(
        "knobs",
        seconds,
        emulated
          ? [{ model: "synthetic:tiny", batches: [1], args: ["--prompt", "200", "--samples", "2", "--steps", "2"] }]
          : ["synthetic:120b", "synthetic:20b"].map((model) => ({ model, batches: [1] })),
      ),
  },
  {
    name: "knobs:batches",
    least: 60,
    most: 500,
    asked: true,
    run: (seconds) =>
      emulated
        ? undefined
        : knobBench(
            "knobs:batches",
            seconds,
            ["synthetic:120b", "synthetic:20b"].map((model) => ({ model, batches: [8, 16] })),
          ),
  },
  { name: "memcheck", least: 15, most: 60, run: (seconds) => sanitizer("memcheck", "memcheck", seconds) },
  { name: "racecheck", least: 15, most: 60, run: (seconds) => sanitizer("racecheck", "racecheck", seconds) },
];

if (flags.help) {
  const names = (steps) => steps.map(({ name }) => name).join(", ");
  console.log(`gpu:check [--budget 540] [--out FOLDER] [--only STEP,…] [--emulated]

  steps, in this order:  ${names(all.filter(({ asked }) => !asked))}
  only when named:       ${names(all.filter(({ asked }) => asked))}`);
  process.exit(0);
}
const report = new Report({ ...findGpu(), date: new Date(), commit: findCommit(), hidden: [root, scratch, homedir()] });
const out = path.resolve(flags.out ?? (emulated ? scratch : path.join(root, "bench/results")));
const only = flags.only?.split(",");
const steps = all.filter(({ name, asked }) => (only ? only.includes(name) : !asked));
for (const [i, step] of steps.entries()) {
  const seconds = allowance(steps, i, remaining());
  console.log(`\n== ${step.name}: at most ${Math.round(seconds)} s of ${Math.round(remaining())} s`);
  if (seconds === 0) {
    count(step.name, { skipped: 1 }, "NOT RUN: out of time");
    continue;
  }
  const from = Date.now();
  const clocks = emulated ? undefined : watchClocks(step.name);
  await step.run(seconds);
  const row = clocks?.();
  if (row) addRow(row);
  report.log(step.name, `took ${((Date.now() - from) / 1000).toFixed(1)} s`);
  save();
}
const { passed, failed, skipped } = report.result.tests;
save();
if (!emulated) console.log(`\n${targetTable(report.result.rows)}`);
console.log(`\n${emulated ? "emulated: nothing measured" : path.join(out, report.fileName)}`);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 ? 1 : 0;
