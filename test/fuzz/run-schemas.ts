// npm run fuzz:schemas: completions under random JSON schemas, each checked by ajv. Prints one JSON line. Exits with 1
// and the schema when a completion is not a value of its schema, or when a refusal does not name its reason.
import { fuzzOptions, progress } from "./options.js";
import { fuzzSchemas, loadEngines } from "./schema-completions.js";

const { seed, count: completions } = fuzzOptions("completions", 100_000, 2 ** 20);
const told = progress(completions);

const engines = await loadEngines();
const started = performance.now();
const { failures, ...report } = await fuzzSchemas(engines, seed, completions, ({ completions: done }) => told(done));
const seconds = Math.round((performance.now() - started) / 100) / 10;
process.stdout.write(`${JSON.stringify({ ...report, failures: failures.length, seconds })}\n`);
for (const failure of failures) process.stderr.write(`${failure}\n`);
if (failures.length > 0) process.exitCode = 1;
await Promise.all([engines.tiny.close(), engines.wide.close()]);
