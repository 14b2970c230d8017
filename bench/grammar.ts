// The cost of a constraint: milliseconds on the JavaScript thread for a new and for a known format, and microseconds on
// the engine thread for the mask of each token. bench/README.md explains each line.
//
//   node --import tsx bench/grammar.ts [--seeds 8] [--tokens 200]
//
// The masks are spans of the engine's trace: the bench starts itself again with a trace file and reads that file.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Engine } from "../lib/engine.js";
import type { OutputFormat } from "../lib/generation/constraint.js";
import { counts } from "./support/arguments.js";
import { commit, machine } from "./support/machine.js";
import { percentile } from "./support/statistics.js";

const { values } = parseArgs({
  options: { seeds: { type: "string", default: "8" }, tokens: { type: "string", default: "200" } },
});
const [seeds] = counts("seeds", values.seeds) as [number];
const [maxTokens] = counts("tokens", values.tokens) as [number];

interface Case {
  name: string;
  /** Returns a different text of the same format for each n, so that no cache knows it. */
  format: (n: number) => OutputFormat;
}

const schema =
  (of: object) =>
  (n: number): OutputFormat => ({ type: "json_schema", schema: { ...of, $comment: String(n) } });
const object = (properties: object, more: object = {}) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
});
const person = object({
  name: { type: "string" },
  age: { type: "integer", minimum: 0, maximum: 150 },
  email: { type: "string", format: "email" },
  tags: { type: "array", items: { type: "string" } },
});
const step = object({
  at: { type: "string", format: "time" },
  next: { anyOf: [{ $ref: "#/$defs/step" }, { type: "null" }] },
});
const wide = object(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`property_${i}`, { type: "string" }])));

const cases: Case[] = [
  { name: "any JSON", format: (n) => ({ type: "json_schema", schema: { $comment: String(n) } }) },
  { name: "one string", format: schema({ type: "string" }) },
  { name: "a string of 1000", format: schema({ type: "string", maxLength: 1000 }) },
  { name: "a pattern", format: schema({ type: "string", pattern: "^([A-Z][a-z]{2,20} ){1,200}[A-Z][a-z]+$" }) },
  { name: "a person", format: schema(person) },
  { name: "recursive", format: schema({ $defs: { step }, ...step }) },
  { name: "100 properties", format: schema(wide) },
  { name: "100 optional", format: schema({ ...wide, required: [] }) },
  {
    name: "a choice of 1000",
    format: (n) => ({
      type: "choice",
      choices: Array.from({ length: 1000 }, (_, i) => `choice ${(i * 7919) % 10_007} ${n}`),
    }),
  },
];

interface Row {
  name: string;
  compile: number[];
  again: number[];
  from: number;
  to: number;
}

/** Runs in the child: runs every case and records when. */
async function run(target: string): Promise<void> {
  await using engine = await Engine.load("demo", { contextLength: 4096 });
  const submit = (format: OutputFormat, seed: number, tokens: number) => {
    const began = performance.now();
    const { result } = engine.generate([1], {
      temperature: 1,
      seed,
      maxTokens: tokens,
      constraint: { kind: "text", format },
    });
    return { milliseconds: performance.now() - began, result };
  };
  // The trie of the vocabulary is built once per process.
  await submit({ type: "json_object" }, 0, 4).result;
  const now = () => Number(process.hrtime.bigint() / 1000n);
  const rows: Row[] = [];
  for (const { name, format } of cases) {
    const compile: number[] = [];
    for (let n = 1; n <= 9; n++) {
      const { milliseconds, result } = submit(format(n), 0, 1);
      compile.push(milliseconds);
      await result;
    }
    const again: number[] = [];
    const from = now();
    for (let seed = 0; seed < seeds; seed++) {
      const { milliseconds, result } = submit(format(0), seed, maxTokens);
      if (seed > 0) again.push(milliseconds);
      await result;
    }
    rows.push({ name, compile, again, from, to: now() });
  }
  writeFileSync(target, JSON.stringify(rows));
}

interface Span {
  name: string;
  ts: number;
  dur: number;
}

function report(rows: Row[], spans: Span[]): void {
  const place = { ...machine(), commit: commit() };
  for (const { name, compile, again, from, to } of rows) {
    const masks = spans
      .filter((span) => span.name === "mask" && span.ts >= from && span.ts <= to)
      .map((span) => span.dur);
    const of = (numbers: number[], percent: number) => Number(percentile(numbers, percent).toPrecision(3));
    const row = {
      bench: "grammar",
      case: name,
      compileMilliseconds: of(compile, 50),
      againMilliseconds: of(again.length > 0 ? again : compile, 50),
      masks: masks.length,
      maskMicroseconds: {
        median: of(masks, 50),
        p99: of(masks, 99),
        max: of(masks, 100),
        mean: Number((masks.reduce((a, b) => a + b, 0) / masks.length).toPrecision(3)),
      },
      machine: place,
    };
    process.stdout.write(`${JSON.stringify(row)}\n`);
  }
}

/** The file that the child writes; absent in the parent. */
const target = process.env.GPT_OSS_GRAMMAR_BENCH;
if (target !== undefined) {
  await run(target);
} else {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-grammar-"));
  try {
    const trace = path.join(folder, "trace.json");
    const rows = path.join(folder, "rows.json");
    const child = spawnSync(
      process.execPath,
      [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)],
      {
        stdio: "inherit",
        env: { ...process.env, GPT_OSS_TRACE: trace, GPT_OSS_GRAMMAR_BENCH: rows },
      },
    );
    if (child.status !== 0) process.exit(child.status ?? 1);
    report(JSON.parse(readFileSync(rows, "utf8")) as Row[], JSON.parse(readFileSync(trace, "utf8")) as Span[]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
