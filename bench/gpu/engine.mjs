// Loading, prefill and decode of one model through the package. Prints one JSON object per line. Run by check.mjs:
//
//   node bench/gpu/engine.mjs MODEL --until EPOCH_MILLISECONDS
//     [--batches 1@2048,64,…] [--prefill 1024,8192] [--prompt 512] [--backend cuda]
//
// Either list may be empty. A batch is a number of concurrent streams. Each has a prompt of --prompt tokens, or of the
// number behind its @. It runs five times, or as often as four seconds allow. Lines have the measured values; check.mjs
// adds the shares of the roofs. After --until the remaining lines have "skipped".
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { digits, median, steadyRate, stepBytes, tokenFlops } from "./report.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    until: { type: "string", default: "0" },
    batches: { type: "string", default: "1@2048,8@2048,16@2048,32,64,128,256" },
    prefill: { type: "string", default: "1024,8192" },
    prompt: { type: "string", default: "512" },
    decode: { type: "string", default: "128" },
    backend: { type: "string", default: "cuda" },
  },
});
const [model = "synthetic:20b"] = positionals;
const until = Number(values.until) || Number.POSITIVE_INFINITY;
const list = (text) => text.split(",").filter((item) => item !== "");
const { Engine } = await import("../../dist/index.js");

function print(row) {
  process.stdout.write(`${JSON.stringify({ model, ...row })}\n`);
}
function outOfTime(row) {
  if (Date.now() < until) return false;
  print({ ...row, skipped: "out of time" });
  return true;
}
/** Memory used by all processes on the first GPU; undefined without nvidia-smi. */
function usedMemory() {
  try {
    const said = execFileSync("nvidia-smi", ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"]);
    return Number(said) * 2 ** 20;
  } catch {
    return undefined;
  }
}
/** Different tokens each time, so that no prefix is reused and no expert is favoured. */
function randomPrompt(tokens, vocab) {
  return Array.from({ length: tokens }, () => Math.floor(Math.random() * Math.min(vocab, 199_998)));
}

const loads = list(values.batches).map((text) => {
  const [batch, promptTokens = values.prompt] = text.split("@");
  return { batch: Number(batch), promptTokens: Number(promptTokens) };
});
const prefills = list(values.prefill).map(Number);
const most = (values) => Math.max(1, ...values);
const before = usedMemory();
const started = performance.now();
const engine = await Engine.load(model, {
  backend: values.backend,
  maxSequences: most(loads.map(({ batch }) => batch)),
  contextLength: most([...prefills, ...loads.map(({ promptTokens }) => 2 * promptTokens)]) + 512,
  prefixCache: false,
});
const milliseconds = digits(performance.now() - started);
const used = usedMemory();
const { info } = engine;
print({
  bench: "load",
  milliseconds,
  device: info.device,
  isa: info.isa,
  memory: info.memory,
  ...(used !== undefined && { bytes: used - before }),
});
const options = { temperature: 0, ignoreEos: true };
const prompt = (tokens) => randomPrompt(tokens, info.model.vocab);
await engine.generate(prompt(64), { ...options, maxTokens: 16 }).result; // warm up

for (const tokens of prefills) {
  const row = { bench: "prefill", batch: 1, context: tokens, tokens };
  if (outOfTime(row)) continue;
  const times = [];
  for (let i = 0; i < 5 && Date.now() < until; i++) {
    const { timings } = await engine.generate(prompt(tokens), { ...options, maxTokens: 1 }).result;
    times.push(timings.prefillMilliseconds);
  }
  const seconds = median(times) / 1000;
  const flops = tokenFlops(info.model, tokens, tokens / 2, 1);
  const bytes = stepBytes(info.model, tokens, 0); // all weights once
  print({
    ...row,
    tokensPerSecond: digits(tokens / seconds),
    bytes: Math.round(bytes),
    flops,
    microseconds: digits(seconds * 1e6),
    repeats: times.length,
  });
}

/** Tokens per second of all streams while all decode; undefined if they never did. */
async function decodeRate(batch, promptTokens, maxTokens) {
  const arrivals = await Promise.all(
    Array.from({ length: batch }, async () => {
      const times = [];
      for await (const _ of engine.generate(prompt(promptTokens), { ...options, maxTokens }))
        times.push(performance.now());
      return times;
    }),
  );
  return steadyRate(arrivals);
}

for (const { batch, promptTokens } of loads) {
  const row = { bench: "decode", batch, prompt: promptTokens };
  if (outOfTime(row)) continue;
  // the prompts take this many steps, in which the first streams already decode
  const staggered = Math.ceil((batch * promptTokens) / info.limits.maxBatchTokens);
  const maxTokens = Math.min(staggered, promptTokens) + Number(values.decode);
  const rates = [];
  const enough = Math.min(until, Date.now() + 4000);
  do {
    rates.push(await decodeRate(batch, promptTokens, maxTokens));
  } while (rates.length < 5 && Date.now() < enough);
  if (rates.includes(undefined)) {
    print({ ...row, skipped: "the streams never decoded all together" });
    continue;
  }
  const rate = median(rates);
  const context = promptTokens + Math.round(maxTokens / 2);
  print({
    ...row,
    context,
    tokens: maxTokens,
    tokensPerSecond: digits(rate),
    range: [digits(Math.min(...rates)), digits(Math.max(...rates))],
    repeats: rates.length,
    bytes: Math.round(stepBytes(info.model, batch, context)), // of a step
    flops: tokenFlops(info.model, batch, context),
    microseconds: digits((1e6 * batch) / rate), // of a step
  });
}
await engine.close();
