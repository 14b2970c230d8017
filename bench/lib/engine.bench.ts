// What a token costs outside of the model: its draw, and its way from the engine's thread to a reader.
import { Bench } from "tinybench";
import type { NewRow } from "../../lib/bench/rows.js";
import { seededRandom } from "../../lib/bench/statistics.js";
import { addon } from "../../lib/binding.js";
import { checkSampling, type SamplingOptions } from "../../lib/generation/sampling.js";
import { Engine } from "../../lib/index.js";
import { threadMilliseconds } from "../support/thread-time.js";
import { type LibBench, type LibBenches, medianOf, rowsOf, timesOf } from "./bench.js";

const vocab = 201_088; // of every released model

/** Normal logits. "flat": thousands of tokens share the mass. "peaked": some tokens have almost all of it. */
function someLogits(): Record<"flat" | "peaked", Float32Array> {
  const random = seededRandom(1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const flat = Float32Array.from({ length: vocab }, () => 3 * normal());
  const peaked = flat.slice();
  for (let i = 0; i < 50; i++) peaked[i * 4000] = 26 - i / 2;
  return { flat, peaked };
}

/** A draw from a row of logits, through the call that tests hold equal to the engine's. */
function* sample({ rounds }: LibBench): Generator<NewRow> {
  const given: Record<string, SamplingOptions> = {
    greedy: { temperature: 0 },
    "temperature 1": {},
    "topK 40": { topK: 40 },
    "topP 0.9": { topP: 0.9 },
    "minP 0.05": { minP: 0.05 },
    "repetitionPenalty 1.1": { repetitionPenalty: 1.1 },
  };
  const completion = Uint32Array.from({ length: 1000 }, (_, i) => i * 100);
  const nothing = { tokens: new Uint32Array(), values: new Float32Array() };
  const context = { choice: 0, prompt: new Uint32Array(), completion, bias: nothing, topLogprobs: 0 };
  for (const [shape, logits] of Object.entries(someLogits())) {
    const calls = Object.fromEntries(
      Object.entries(given).map(([name, options]) => {
        const params = { ...checkSampling({ ...options, seed: 1 }), maskReserved: true };
        let position = 0;
        return [name, () => addon().sample(logits, params, position++, context)];
      }),
    );
    const times = timesOf(calls, rounds);
    yield* rowsOf({ name: "sample", parameters: { logits: shape, vocab }, unit: "us", times });
  }
}

const eventModel = "synthetic:tiny";
const prompt = [1, 2, 3, 4];

/**
 * The way of an event from the engine's thread to the reader of a request. The first token: the time from `generate()`
 * until the reader has it, without the times in which the engine let it wait and computed it. The others: what a token
 * costs the thread of the readers.
 */
async function* event({ rounds }: LibBench): AsyncGenerator<NewRow> {
  await using engine = await Engine.load(eventModel, { backend: "cpu", threads: 1 });
  const firstToken: number[] = [];
  await firstTokenMilliseconds(engine); // a warm-up
  for (let i = 0; i < rounds; i++) firstToken.push(await firstTokenMilliseconds(engine));
  const parameters = { model: eventModel, requests: 1 };
  yield* rowsOf({ name: "event", parameters, unit: "us", clock: "wall", times: { "first token": firstToken } });
  for (const requests of [1, 32]) {
    const later: number[] = [];
    await readerMilliseconds(engine, requests);
    for (let i = 0; i < rounds; i++) later.push(await readerMilliseconds(engine, requests));
    const times = { "later token": later };
    yield* rowsOf({ name: "event", parameters: { model: eventModel, requests }, unit: "us", clock: "thread", times });
  }
}

/** The median of the requests of 200 ms. */
async function firstTokenMilliseconds(engine: Engine): Promise<number> {
  const bench = new Bench({ time: 200, warmup: false, retainSamples: true });
  bench.add("first token", async () => {
    const started = performance.now();
    const run = engine.generate(prompt, { temperature: 0, maxTokens: 1, ignoreEos: true });
    let arrived = started;
    for await (const _ of run) arrived = performance.now();
    const { queueMilliseconds, prefillMilliseconds } = (await run.result).timings;
    return { overriddenDuration: Math.max(0, arrived - started - queueMilliseconds - prefillMilliseconds) };
  });
  const [task] = await bench.run();
  return medianOf(task!);
}

/** CPU time of this thread for each token that readers of so many requests at once receive. */
async function readerMilliseconds(engine: Engine, requests: number): Promise<number> {
  const tokens = 256;
  let received = 0;
  const before = threadMilliseconds();
  await Promise.all(
    Array.from({ length: requests }, async () => {
      const run = engine.generate(prompt, { temperature: 0, maxTokens: tokens, ignoreEos: true });
      for await (const { token } of run) if (token >= 0) received++;
    }),
  );
  const milliseconds = threadMilliseconds() - before;
  if (received !== requests * tokens) throw new Error(`${received} tokens arrived`);
  return milliseconds / received;
}

export const engineBenches: LibBenches = { sample, event };
