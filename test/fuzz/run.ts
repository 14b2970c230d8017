// npm run fuzz: feeds random and damaged token streams to the harmony parsers. Prints one JSON line. Exits with 1 when
// a rule is broken, with the shortened stream, or when memory has grown.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type FuzzReport, fuzz } from "./harmony.js";
import { fuzzOptions, progress } from "./options.js";

const { seed, count: tokens } = fuzzOptions("tokens", 10_000_000, 2 ** 31);

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
const heapMegabytes = () => {
  collectGarbage();
  return Math.round(process.memoryUsage().heapUsed / 1e4) / 100;
};

const warmUp = tokens / 10; // the table of texts fills as tokens occur
const mostGrowth = 16; // MB of heap after that
let warm: number | undefined;
const told = progress(tokens);
function tell({ tokens: done }: FuzzReport): void {
  if (done >= warmUp) warm ??= heapMegabytes();
  told(done);
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
