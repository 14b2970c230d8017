// npm run metal:check: all checks and measurements that need an Apple GPU, in one run. It builds what is missing and
// prints one block of text. It writes bench/results/<chip>-<time>-<commit>.jsonl line by line, as gpu:check does.
//
// It exits with 1 if there is no GPU that Metal can use, or if a test fails. docs/performance/metal-check.md says how
// to use it.
import { parseArgs } from "node:util";
import { begin } from "../gpu/begin.mjs";
import { readResults } from "../gpu/results.mjs";
import { runSteps } from "../gpu/run-steps.mjs";
import { blockOf } from "./block.mjs";
import { findMac } from "./machine.mjs";
import { steps } from "./steps.mjs";

const { values: options } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    only: { type: "string" },
    out: { type: "string" },
    cases: { type: "string" },
    "case-seconds": { type: "string", default: "60" },
    emulated: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const names = steps.map(({ name }) => name);

function refuse(sentence) {
  console.error(`metal:check: ${sentence}`);
  process.exit(1);
}

if (options.help) {
  console.log(`metal:check [OPTIONS]

  --minutes N          time of all steps together (60)
  --only STEP,…        runs only these steps
  --out FOLDER         the folder of the result file (bench/results)
  --cases BEGIN,…      step "kernels": runs only cases whose names start with one of these
  --case-seconds N     step "kernels": time limit of each case (60)
  --emulated           tries metal:check itself on the emulated GPU, and keeps no measurement

  steps, in this order:  ${names.join(", ")}`);
  process.exit(0);
}
if (!(Number(options.minutes) > 0)) refuse(`--minutes must be a number above 0, not ${options.minutes}`);
const only = options.only?.split(",") ?? names;
const unknown = only.filter((name) => !names.includes(name));
if (unknown.length > 0) refuse(`there is no step ${unknown.join(", ")}; see --help`);
const found = options.emulated ? { gpu: "emulated", driver: "no macOS" } : findMac();
if (found.why) refuse(found.why);

const started = Date.now();
const session = begin({ found, options, backend: "metal" });
const { file, totals } = session.results;
await runSteps(
  steps.filter(({ name }) => only.includes(name)),
  session,
  () => 60 * Number(options.minutes) - (Date.now() - started) / 1000,
);
const { head, rows } = readResults(file);
console.log(`\n${blockOf(head, rows, file)}`);
console.log(options.emulated ? "\nemulated: nothing measured" : `\n${file}`);
process.exitCode = totals.failed > 0 ? 1 : 0;
