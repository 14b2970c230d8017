// npm run fuzz:schemas: completions under random JSON schemas, each looked at by ajv. Prints one JSON line; exits with 1 and
// the schema when a completion is none of its values, or a refusal has no name.
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { fuzzSchemas, loadEngines, type SchemaReport } from "./schema-completions.js";

const { values } = parseArgs({
  options: { seed: { type: "string" }, completions: { type: "string", default: "100000" } },
});
const seed = values.seed === undefined ? randomInt(2 ** 20) : Number(values.seed);
const completions = Number(values.completions);
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(completions) || completions < 1) {
  process.stderr.write("Expected integers for --seed and --completions\n");
  process.exit(2);
}
process.stderr.write(`seed ${seed}, ${completions} completions\n`);

let told = 0;
function tell({ completions: done }: SchemaReport): void {
  if (done < told) return;
  process.stderr.write(`${Math.floor((100 * done) / completions)} %\r`);
  told += completions / 100;
}

const engines = await loadEngines();
const started = performance.now();
const { failures, ...report } = await fuzzSchemas(engines, seed, completions, tell);
const seconds = Math.round((performance.now() - started) / 100) / 10;
process.stdout.write(`${JSON.stringify({ ...report, failures: failures.length, seconds })}\n`);
for (const failure of failures) process.stderr.write(`${failure}\n`);
if (failures.length > 0) process.exitCode = 1;
await Promise.all([engines.tiny.close(), engines.wide.close()]);
