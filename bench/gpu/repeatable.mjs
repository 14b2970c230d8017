// Whether the same request gives the same bits: in each run of one load, and with `repeatable: true` alone, among other
// requests, and with its prompt in other chunks. It also measures the cost of `repeatable`. Run by check.mjs:
//
//   node bench/gpu/repeatable.mjs MODEL      lines "ok NAME" or "FAIL NAME", JSON rows, and "N passed, N failed" last
import { digits, steadyRate } from "./report.mjs";

const model = process.argv[2] ?? "synthetic:20b";
const { Engine } = await import("../../dist/index.js");
const promptTokens = Number(process.argv[3] ?? 700);
const maxTokens = Number(process.argv[4] ?? 48);
const streams = Number(process.argv[5] ?? 32);
const totals = { passed: 0, failed: 0 };

function expectEqual(name, expected, actual) {
  const wrong = expected.findIndex((text, i) => text !== actual[i]);
  if (wrong < 0) console.log(`ok ${name}`);
  else console.log(`FAIL ${name}\n  request ${wrong}: ${expected[wrong]}\n  then ${actual[wrong]}`);
  totals[wrong < 0 ? "passed" : "failed"]++;
}

/** The same prompts in every process. */
function makePrompts(count, vocab) {
  let state = 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  return Array.from({ length: count }, (_, i) =>
    Array.from({ length: Math.max(1, promptTokens - 37 * (i % 7)) }, () => next() % Math.min(vocab, 199_998)),
  );
}
/** Greedy and sampled requests. Returns the output with every bit of the log probabilities. */
async function answer(engine, prompt, i) {
  const sampling = i % 2 === 0 ? { temperature: 0 } : { temperature: 1, topP: 0.95, seed: i };
  const { tokens, logprobs } = await engine.generate(prompt, { ...sampling, maxTokens, ignoreEos: true, logprobs: 1 })
    .result;
  return JSON.stringify([tokens, logprobs]);
}
async function alone(engine, prompts) {
  const out = [];
  for (const [i, prompt] of prompts.entries()) out.push(await answer(engine, prompt, i));
  return out;
}
const together = (engine, prompts) => Promise.all(prompts.map((prompt, i) => answer(engine, prompt, i)));

/** Prefill and decode tokens per second. */
async function speed(engine, prompts) {
  const prefill = (await engine.generate(prompts[0], { temperature: 0, maxTokens: 1 }).result).timings
    .prefillMilliseconds;
  const arrivals = await Promise.all(
    prompts.map(async (prompt) => {
      const times = [];
      for await (const _ of engine.generate(prompt, {
        temperature: 0,
        maxTokens: 2 * maxTokens + streams,
        ignoreEos: true,
      }))
        times.push(performance.now());
      return times;
    }),
  );
  return { prefill: (1000 * prompts[0].length) / prefill, decode: steadyRate(arrivals) };
}

const base = {
  backend: "cuda",
  maxSequences: streams,
  contextLength: 2 * promptTokens + 4 * maxTokens + streams,
  prefixCache: false,
};
const measured = {};
async function withEngine(options, body) {
  const engine = await Engine.load(model, { ...base, ...options });
  try {
    return await body(engine, makePrompts(streams, engine.info.model.vocab));
  } finally {
    await engine.close();
  }
}

await withEngine({}, async (engine, prompts) => {
  const some = prompts.slice(0, 4);
  expectEqual("run to run, one after the other", await alone(engine, some), await alone(engine, some));
  measured.usual = await speed(engine, prompts);
});
const first = await withEngine({ repeatable: true }, async (engine, prompts) => {
  const some = await alone(engine, prompts.slice(0, 4));
  expectEqual("repeatable: alone, and among others", some, (await together(engine, prompts)).slice(0, 4));
  measured.repeatable = await speed(engine, prompts);
  return some;
});
await withEngine({ repeatable: true, maxBatchTokens: Math.max(32, streams) }, async (engine, prompts) => {
  expectEqual(
    "repeatable: prompts cut into other chunks, in another load",
    first,
    await alone(engine, prompts.slice(0, 4)),
  );
});
const price = (name) => digits(100 * (1 - measured.repeatable[name] / measured.usual[name]));
console.log(
  JSON.stringify({
    bench: "repeatable",
    model,
    batch: streams,
    context: promptTokens,
    pricePercent: { prefill: price("prefill"), decode: price("decode") },
    tokensPerSecond: measured,
  }),
);
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed > 0 ? 1 : 0;
