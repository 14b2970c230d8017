// The steps of metal:check. Times are seconds, as in bench/gpu/steps/order.mjs; nothing here is short of time.
import { existsSync } from "node:fs";
import path from "node:path";
import { last } from "../gpu/process.mjs";
import { nativeCounts } from "../gpu/report.mjs";
import { jsonLines } from "../gpu/results.mjs";
import { program, root } from "../gpu/session.mjs";
import { casesOf, runCases } from "../gpu/steps/cases.mjs";
import { kernelBench } from "../gpu/steps/kernel-bench.mjs";
import { roofsOf } from "../gpu/steps/roofs.mjs";
import { firstLine } from "./machine.mjs";

/** The emulated machine, where there is one. A test can take another. */
const machine = process.env.EMULATED_METAL ?? "present=1";

/** A step that runs commands with Node, each after the one before. What is up to date is not built again. */
function building(name, most, commands) {
  return {
    ...{ name, least: 60, most },
    async run(session, seconds) {
      if (session.emulated) return;
      const until = Date.now() + seconds * 1000;
      for (const command of commands) {
        const said = await session.node(command, { seconds: (until - Date.now()) / 1000 });
        const why = `FAIL it does not build: node ${command.join(" ")}\n${last(said.text, 40)}`;
        session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : why);
        if (!said.ok) return;
      }
    },
  };
}

const build = building("build", 1200, [
  ["native/build.mjs"],
  ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"],
  ["native/build.mjs", "--target", "oss_metal_facts"],
]);
/** After the facts: without a GPU, these minutes would be lost. */
const buildTests = building("build:tests", 1200, [["native/build.mjs", "--target", "oss_tests"]]);

/** What the GPU is. Without one that the kernels can use, no other step can run. */
const facts = {
  name: "facts",
  least: 5,
  most: 60,
  async run(session, seconds) {
    const said = await session.run(program("oss_metal_facts") ?? "oss_metal_facts", [], {
      ...{ seconds, env: session.device(machine) },
    });
    if (!said.ok) {
      session.stop = true;
      return session.count({ failed: 1 }, `FAIL ${last(said.text, 5)}`);
    }
    const compiler = session.emulated ? undefined : firstLine("xcrun", "-sdk", "macosx", "metal", "--version");
    const addon = path.join(root, "build", session.emulated ? "Emulated" : "Release", "gpt_oss.node");
    session.results.add({
      bench: "facts",
      ...jsonLines(said.text)[0],
      ...{ node: process.version, addon: existsSync(addon) ? "built" : "not built", compiler },
    });
    session.count({ passed: 1 });
  },
};

/** Each test of a Metal kernel in a process of its own. */
const kernels = {
  name: "kernels",
  least: 30,
  most: 1200,
  async run(session, seconds) {
    const begins = session.options.cases?.split(",") ?? [session.emulated ? "metal rms_norm" : "metal "];
    const names = casesOf(session, begins);
    if (names.length === 0) return session.count({ failed: 1 }, "FAIL oss_tests is not built, or has no such case");
    const caseSeconds = Number(session.options["case-seconds"]);
    await runCases(session, names, { until: Date.now() + seconds * 1000, caseSeconds });
  },
};

/** Runs a script that prints "N passed, N failed" last. */
async function runCounted(session, args, seconds) {
  const said = await session.rows(process.execPath, args, { seconds, env: session.device(machine) });
  const { passed, failed, failures } = nativeCounts(said.text);
  const why = [...failures, ...(failures.length > 0 ? [] : [`FAIL ${args.join(" ")}`]), last(said.text, 10)];
  session.count({ passed, failed: failed || Number(!said.ok) }, said.ok ? "" : why.join("\n"));
}

const golden = ["a.short", "a.window", "b.short", "c.short", "c.window"];

/** The golden models within the bf16 tolerances of test/golden/README.md. */
const models = {
  name: "models",
  least: 20,
  most: 300,
  async run(session, seconds) {
    const until = Date.now() + seconds * 1000;
    for (const name of session.emulated ? ["c.short"] : golden) {
      const places = [`test/golden/models/${name[0]}`, `test/golden/cases/${name}.safetensors`];
      const args = ["--import", "tsx", "test/oracle/compare.ts", ...places, "--backend", "metal"];
      await runCounted(session, args, (until - Date.now()) / 1000);
    }
  },
};

const demo = {
  name: "demo",
  least: 10,
  most: 120,
  async run(session, seconds) {
    const [count, tokens] = session.emulated ? [1, 2] : [16, 160];
    await runCounted(session, ["bench/metal/demo.mjs", `${count}`, `${tokens}`], seconds);
  },
};

/** Prefill and decode of the largest synthetic model that fits. */
const engine = {
  name: "engine",
  least: 60,
  most: 900,
  async run(session, seconds) {
    const until = Date.now() + Math.max(seconds - 15, seconds / 2) * 1000;
    const [emulated, candidates, options] = session.emulated
      ? [
          "idle=1", // a device of 4 GB, so that the larger model does not fit
          ["synthetic:20b", "synthetic:tiny"],
          ["--batches", "1,2", "--prefill", "20", "--prompt", "16", "--decode", "32"],
        ]
      : ["", ["synthetic:20b", "synthetic:small"], ["--batches", "1,4,8", "--prefill", "512,4096"]];
    const env = session.device(emulated);
    const asked = await session.node(["bench/metal/fitting.mjs", ...candidates], { seconds, env, show: false });
    const { model, misfits } = jsonLines(asked.text).at(-1) ?? {};
    if (!asked.ok || !model) return session.count({ failed: 1 }, `FAIL no model fits\n${last(asked.text, 10)}`);
    for (const why of misfits) session.results.add({ bench: "misfit", why });
    const args = ["bench/gpu/engine.mjs", model, "--backend", "metal", "--until", `${until}`, ...options];
    const said = await session.rows(process.execPath, args, {
      ...{ seconds, env, row: (line) => (line.bench === "decode" ? session.withShare(line) : line) },
    });
    session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : `FAIL ${last(said.text, 30)}`);
  },
};

const benchOptions = { least: 30, most: 300, emulated: true, machine };

export const steps = [
  build,
  facts,
  buildTests,
  kernels,
  models,
  demo,
  roofsOf(machine),
  kernelBench("20b", benchOptions),
  engine,
];
