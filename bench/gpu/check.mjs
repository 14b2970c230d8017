// npm run gpu:check: all checks and measurements that need a GPU. It builds the missing parts, runs every kernel and
// engine test on the GPU, and measures. It writes bench/results/<gpu>-<time>-<commit>.jsonl line by line.
//
// It works without a network, and in a bundle (bundle.mjs) without npm. It exits with 1 if there is no GPU, or if a
// test fails. docs/performance/gpu-check.md says how to use it.
import { parseArgs } from "node:util";
import { begin } from "./begin.mjs";
import { runSteps } from "./run-steps.mjs";
import { findGpu } from "./session.mjs";
import { short, usual } from "./steps/order.mjs";
import { targetTable } from "./targets.mjs";

const { values: options } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    minutes: { type: "string", default: "9" },
    only: { type: "string" },
    out: { type: "string" },
    built: { type: "string" },
    cases: { type: "string" },
    "case-seconds": { type: "string", default: "20" },
    emulated: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const { emulated } = options;
const started = Date.now();
const remaining = () => 60 * Number(options.minutes) - (Date.now() - started) / 1000;
const all = options.short ? short : usual;
const names = (steps) => steps.map(({ name }) => name).join(", ");

function refuse(sentence) {
  console.error(`gpu:check: ${sentence}`);
  process.exit(1);
}

if (options.help) {
  console.log(`gpu:check [OPTIONS]

  --short              for a GPU machine that is available for a few minutes: the most important steps first
  --minutes N          time of all steps together (9)
  --only STEP,…        runs only these steps
  --out FOLDER         the folder of the result file (bench/results)
  --built FOLDER       programs that were built before; programs that do not load are built again (.gpu/built)
  --cases BEGIN,…      step "kernels": runs only cases whose names start with one of these
  --case-seconds N     step "kernels": time limit of each case (20)
  --emulated           tries gpu:check itself on the emulated GPU, and keeps no measurement

  steps, in this order:  ${names(usual.filter(({ asked }) => !asked))}
  only when named:       ${names(usual.filter(({ asked }) => asked))}
  with --short:          ${names(short)}`);
  process.exit(0);
}
if (!(Number(options.minutes) > 0)) refuse(`--minutes must be a number above 0, not ${options.minutes}`);
const only = options.only?.split(",");
const unknown = only?.filter((name) => !all.some((step) => step.name === name)) ?? [];
if (unknown.length > 0)
  refuse(`there is no step ${unknown.join(", ")}${options.short ? " with --short" : ""}; see --help`);
const found = emulated ? { gpu: "emulated", driver: "none" } : findGpu();
if (found.why) refuse(found.why);

const session = begin({ found, options, backend: "cuda" });
const { results } = session;

await runSteps(
  all.filter(({ name, asked }) => (only ? only.includes(name) : !asked)),
  session,
  remaining,
);
const { passed, failed, skipped } = results.totals;
if (!emulated) console.log(`\n${targetTable(results.rows)}`);
console.log(`\n${emulated ? "emulated: nothing measured" : results.file}`);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 ? 1 : 0;
