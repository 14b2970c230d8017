// Which of these models fits the GPU, with the plan's sentence about each that does not. Run by check.mjs:
//
//   node bench/metal/fitting.mjs MODEL …      the largest first; prints {"model":…,"misfits":["…"]}
import { nearestMisfit } from "../../dist/cli/plan-text.js";
import { planModel } from "../../dist/index.js";

const misfits = [];
let model;
for (const name of process.argv.slice(2)) {
  const plan = await planModel(name, { backend: "metal", maxSequences: 8 });
  if (plan.fits) {
    model = name;
    break;
  }
  misfits.push(`${name} does not fit: ${nearestMisfit(plan)}`);
}
console.log(JSON.stringify({ model, misfits }));
