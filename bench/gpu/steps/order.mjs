// The steps of gpu:check and their order. Times are seconds. A step starts if its `least` remains, and gets at most its
// `most`. The steps before it keep its `reserve` free (`least` if absent).
import { build } from "./build.mjs";
import { counters } from "./counters.mjs";
import { decode, stages } from "./decode.mjs";
import { engine, repeatable } from "./engine.mjs";
import { kernelBench } from "./kernel-bench.mjs";
import { kernels, sanitizer } from "./kernels.mjs";
import { knobBatches, knobs, routeAgain, shortKnobs } from "./knobs.mjs";
import { load, loadHost } from "./load.mjs";
import { node } from "./node.mjs";
import { oracle } from "./oracle.mjs";
import { floor, roofs } from "./roofs.mjs";

const decode120b = decode("decode:120b", "synthetic:120b", [1, 8, 64, 256], { least: 40, most: 100 });
const decode20b = decode("decode:20b", "synthetic:20b", [1, 8, 64, 256], { least: 20, most: 60 });
const bench20b = kernelBench("20b", { least: 15, most: 60, emulated: true });
const bench120b = kernelBench("120b", { least: 10, most: 40 });
const load20b = load("20b", { least: 30, most: 120, emulated: true });

/** Steps that run only when --only names them have `asked`. */
export const usual = [
  ...[build, roofs, floor, kernels, routeAgain],
  engine("engine:20b", "synthetic:20b", { least: 40, most: 90, emulated: true }),
  engine("engine:120b", "synthetic:120b", { least: 40, most: 110 }),
  { ...decode120b, asked: true },
  { ...decode20b, asked: true },
  ...[loadHost, load20b, load("120b", { least: 60, most: 240, asked: true })],
  ...[node, oracle, repeatable, bench20b, bench120b, stages, counters, knobs, knobBatches],
  ...[sanitizer("memcheck"), sanitizer("racecheck")],
];

/** Runs if time remains; the steps before it reserve none for it. */
const rest = (...steps) => steps.map((step) => ({ ...step, reserve: 0, asked: false }));

/** For a GPU machine that is available for 15 minutes in total: the most important steps come first. */
export const short = [
  build,
  { ...roofs, most: 15 },
  { ...kernels, most: 120 },
  { ...decode120b, most: 90 },
  engine("prefill:120b", "synthetic:120b", {
    ...{ least: 15, most: 40, args: ["--batches", "", "--prefill", "8192"], emulated: true },
  }),
  routeAgain,
  { ...stages, most: 50 },
  { ...shortKnobs, reserve: 0 },
  { ...decode20b, most: 40, reserve: 0 },
  { ...sanitizer("memcheck", { short: true, most: 40 }), reserve: 0 },
  { ...sanitizer("racecheck", { short: true, most: 40 }), reserve: 0 },
  ...rest(floor, bench120b, repeatable, oracle, bench20b, load20b, node, counters),
];
