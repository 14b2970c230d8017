// The time from the start of this process to a first token of a checkpoint, with an engine with default options. Prints
// one JSON object. Run by check.mjs on the files of checkpoint.mjs, which are still in the page cache:
//
//   node bench/gpu/load.mjs FOLDER
import { readdirSync, statfsSync, statSync } from "node:fs";
import path from "node:path";
import { digits } from "./report.mjs";

const [folder] = process.argv.slice(2);
const bytes = readdirSync(folder)
  .filter((name) => name.endsWith(".safetensors"))
  .reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);
const { Engine } = await import("../../dist/index.js");
const imported = performance.now(); // all times count from the start of the process
let opened = imported;
const engine = await Engine.load(folder, {
  backend: "cuda",
  onProgress: ({ phase }) => {
    if (phase === "open") opened = performance.now();
  },
});
const ready = performance.now();
const generation = engine.generate([1, 2, 3, 4, 5, 6, 7, 8], { temperature: 0, ignoreEos: true, maxTokens: 2 });
let first;
for await (const _ of generation) first ??= performance.now();
const { device, memory } = engine.info;
const tmpfs = 0x01021994; // its pages are read more slowly than those of a file on a disk
process.stdout.write(
  `${JSON.stringify({
    bench: "load",
    device,
    bytes,
    files: statfsSync(folder).type === tmpfs ? "in memory" : "on a disk",
    kvBytes: memory.kvBytes,
    importMilliseconds: digits(imported),
    openMilliseconds: digits(opened - imported), // the device's start, headers and scales
    weightsMilliseconds: digits(ready - opened), // with all memory allocations
    firstTokenMilliseconds: digits(first - ready),
    gigabytesPerSecond: digits(bytes / 1e6 / (ready - opened)),
    startToFirstTokenSeconds: digits(first / 1000),
  })}\n`,
);
await engine.close();
