import { mkdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { counts, UsageError } from "../../bench/support/arguments.js";
import { Engine, type EngineOptions } from "../../lib/index.js";
import { compareTaps, readTaps } from "./taps.js";

const help = `Usage: npm run dump -- MODEL [options]
       npm run dump -- --compare A B [--tolerance X]

The first writes the tensors of the forward pass over a prompt, OUT/step-0/3.router_logits.npy and so on. The second
compares two of those folders, or one with a file of \`oracle.py --dump\`, tensor by tensor in the order of the forward
pass; B is the reference. It names the first tensor over the tolerance, and exits 1 then.

  --prompt TEXT      what the model reads                               [Hello]
  --tokens LIST      the same as token ids: 1,2,3
  --last N           positions at the end that get logits               [1]
  --out FOLDER       where to write; not there yet, or empty            [dump]
  --backend NAME     cpu, cuda                                          [GPT_OSS_BACKEND, else cpu]
  --numerics NAME    exact, fast                                        [what the backend has]
  --tolerance X      greatest difference by the greatest value of B     [1e-5]
`;

const options = {
  compare: { type: "boolean", default: false },
  prompt: { type: "string", default: "Hello" },
  tokens: { type: "string" },
  last: { type: "string", default: "1" },
  out: { type: "string", default: "dump" },
  backend: { type: "string", default: process.env.GPT_OSS_BACKEND ?? "cpu" },
  numerics: { type: "string" },
  tolerance: { type: "string", default: "1e-5" },
  help: { type: "boolean", default: false },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>["values"];

async function dump(model: string, values: Values): Promise<void> {
  const out = path.resolve(values.out);
  mkdirSync(path.dirname(out), { recursive: true });
  process.env.GPT_OSS_DUMP = out;
  await using engine = await Engine.load(model, {
    backend: values.backend,
    ...(values.numerics !== undefined && { numerics: values.numerics }),
    maxSequences: 1,
    prefixCache: false,
    packedWeights: "memory",
  } as EngineOptions);
  const tokens =
    values.tokens === undefined ? engine.tokenizer.encode(values.prompt) : counts("tokens", values.tokens, 0);
  await engine.logits(tokens, { last: counts("last", values.last)[0]! });
  const { backend, isa, numerics } = engine.info;
  console.log(`${tokens.length} tokens on ${backend} ${isa}, ${numerics}: ${out}`);
}

function compare(a: string, b: string, tolerance: number): void {
  const found = compareTaps(readTaps(a), readTaps(b), tolerance);
  for (const { name, shape, maxAbs, maxRel, isOver } of found) {
    const measures = `max_abs ${maxAbs.toExponential(2)}, max_rel ${maxRel.toExponential(2)}`;
    console.log(`${isOver ? "OVER" : "ok  "} ${name} [${shape.join(", ")}]: ${measures}`);
  }
  const over = found.filter(({ isOver }) => isOver);
  const [first] = over;
  if (first) {
    const { name, at, values } = first;
    console.log(`The first that drifts is ${name}: at [${at.join(", ")}] ${values[0]} instead of ${values[1]}`);
    process.exitCode = 1;
  }
  console.log(`${found.length - over.length} passed, ${over.length} failed`);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  if (values.help) return console.log(help);
  if (values.compare) {
    const tolerance = Number(values.tolerance);
    if (!(tolerance >= 0)) {
      throw new UsageError(`Expected a number >= 0 for --tolerance but received "${values.tolerance}"`);
    }
    const [a, b, ...more] = positionals;
    if (!a || !b || more.length > 0) throw new UsageError("Expected --compare A B; --help tells more");
    return compare(a, b, tolerance);
  }
  const [model, ...more] = positionals;
  if (!model || more.length > 0) throw new UsageError("Expected MODEL; --help tells more");
  await dump(model, values);
}

await main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
