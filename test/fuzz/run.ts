// npm run fuzz: random and damaged token streams through the harmony parsers. Prints one JSON line; exits with 1 and the
// shortest failing stream when a rule is broken, or when memory has grown.
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type FuzzReport, fuzz } from "./harmony.js";

const { values } = parseArgs({
  options: { seed: { type: "string" }, tokens: { type: "string", default: "10000000" } },
});
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
const tokens = Number(values.tokens);
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(tokens) || tokens < 1) {
  process.stderr.write("Expected integers for --seed and --tokens\n");
  process.exit(2);
}
process.stderr.write(`seed ${seed}, ${tokens} tokens\n`);

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
const heapMegabytes = () => {
  collectGarbage();
  return Math.round(process.memoryUsage().heapUsed / 1e4) / 100;
};

const warmUp = tokens / 10; // the table of texts fills as tokens occur
const mostGrowth = 16; // MB of heap after that
let warm: number | undefined;
let told = 0;
function tell({ tokens: done }: FuzzReport): void {
  if (done < told) return;
  if (done >= warmUp) warm ??= heapMegabytes();
  process.stderr.write(`${Math.round((100 * done) / tokens)} %\r`);
  told += tokens / 100;
}

const started = process.cpuUsage();
try {
  const report = fuzz(seed, tokens, tell);
  const { user, system } = process.cpuUsage(started);
  const heap = heapMegabytes();
  const growth = Math.round(100 * (heap - (warm ?? heap))) / 100;
  const cpuSeconds = Math.round((user + system) / 1e4) / 100;
  process.stdout.write(`${JSON.stringify({ ...report, cpuSeconds, heapMB: heap, heapGrowthMB: growth })}\n`);
  if (growth > mostGrowth) {
    process.stderr.write(`The heap grew by ${growth} MB, more than ${mostGrowth}\n`);
    process.exitCode = 1;
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
