// npm run soak: many short requests of every kind, many of them cancelled, against one engine. Memory must not grow,
// and at the end every page must be free. Prints one JSON line; exits with 1 when a check fails.
import path from "node:path";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Engine, type GenerateOptions } from "../lib/index.js";
import { seededRandom } from "../test/support/random.js";

const { values } = parseArgs({ options: { requests: { type: "string", default: "20000" } } });
const requests = Number(values.requests);
if (!Number.isInteger(requests) || requests < 1000) {
  process.stderr.write(`Expected an integer >= 1000 for --requests but received "${values.requests}"\n`);
  process.exit(2);
}

const concurrency = 128; // twice what runs at once: half of the requests are cancelled in the queue
const warmUp = 0.25; // of the requests: heap, malloc arenas and prefix cache grow to their size
const samples = 64; // of memory, after the warm-up

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

// The requests are the same in every run; the clock decides when a cancellation arrives.
const random = seededRandom(1);
const below = (n: number) => Math.floor(random() * n);
const chance = (p: number) => random() < p;

const stopTexts = ["e", "ing", "\n", "st", "0", " the", "::", "x y"];
const beginnings = Array.from({ length: 8 }, () => Array.from({ length: 64 + below(160) }, () => below(500)));

/** A request and its disturbance. Half of the prompts share a beginning. */
function draw() {
  const own = Array.from({ length: 1 + below(40) }, () => below(500));
  const options: GenerateOptions = {
    maxTokens: 1 + below(24),
    temperature: chance(0.3) ? 0 : 1,
    seed: below(1e9),
    priority: below(5) - 2,
    ignoreEos: chance(0.5),
    ...(chance(0.2) && { n: 2 + below(3) }),
    ...(chance(0.3) && { stop: stopTexts.filter(() => chance(0.4)) }),
    ...(chance(0.2) && { cacheSalt: `tenant ${below(4)}` }),
    ...(chance(0.1) && { logprobs: 1 + below(5) }),
    ...(chance(0.1) && { repetitionPenalty: 1.2, logitBias: { [below(512)]: Number.NEGATIVE_INFINITY } }),
    ...(chance(0.02) && { logitsProcessor: (logits: Float32Array) => logits.fill(0, 0, 10) }),
  };
  const fates = ["result", "result", "read", "read", "leave", "cancel", "abort"];
  const prompt = chance(0.5) ? [...beginnings[below(beginnings.length)]!, ...own] : own;
  return { prompt, options, fate: fates[below(fates.length)]!, after: below(60) };
}

const ends = { stop: 0, length: 0, cancelled: 0, aborted: 0 };
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function oneRequest(engine: Engine): Promise<void> {
  const { prompt, options, fate, after } = draw();
  const controller = new AbortController();
  const run = engine.generate(prompt, { ...options, ...(fate === "abort" && { signal: controller.signal }) });
  if (fate === "read" || fate === "leave") {
    let left = fate === "leave" ? after % 8 : Number.POSITIVE_INFINITY;
    for await (const _ of run) if (left-- === 0) break;
  }
  if (fate === "cancel" || fate === "abort") {
    await pause(after);
    if (fate === "cancel") run.cancel();
    else controller.abort(new Error("enough"));
  }
  const end = await run.result.then(
    ({ finishReason }) => finishReason,
    (error: unknown) => {
      if (fate === "abort" && error === controller.signal.reason) return "aborted" as const;
      throw error;
    },
  );
  ends[end]++;
}

/** Least squares: MB per 1,000 requests. */
function slope(points: { done: number; bytes: number }[]): number {
  const mean = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const x = mean(points.map(({ done }) => done));
  const y = mean(points.map(({ bytes }) => bytes));
  const covariance = mean(points.map(({ done, bytes }) => (done - x) * (bytes - y)));
  return (covariance / mean(points.map(({ done }) => (done - x) ** 2))) * 1e-3;
}

const rounded = (number: number) => Number(number.toPrecision(3));

async function main(): Promise<void> {
  // Room for about 40 of the longest sequences: pages run out, prefixes are evicted, sequences preempted.
  const engine = await Engine.load(path.resolve(import.meta.dirname, "../test/golden/models/a"), {
    contextLength: 1024,
    maxSequences: 64,
    kvCache: { bytes: "24MiB" },
  });
  const started = performance.now();
  const memory: (NodeJS.MemoryUsage & { done: number })[] = [];
  let begun = 0;
  let done = 0;
  const every = Math.floor((requests * (1 - warmUp)) / samples);
  const worker = async () => {
    while (begun < requests) {
      begun++;
      await oneRequest(engine);
      done++;
      if (done < requests * warmUp || done % every !== 0) continue;
      collectGarbage();
      memory.push({ done, ...process.memoryUsage() });
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  const seconds = (performance.now() - started) / 1000;
  // The requests that were cancelled last are freed before the next step; this request needs one.
  await engine.generate([1], { maxTokens: 1 }).result;
  const { pages, preemptions, steps, promptTokens, cachedTokens, completionTokens, running, waiting } = engine.stats();
  await engine.close();

  const rssSlope = slope(memory.map(({ done, rss }) => ({ done, bytes: rss })));
  const heapSlope = slope(memory.map(({ done, heapUsed, external }) => ({ done, bytes: heapUsed + external })));
  const rss = memory.map(({ rss }) => rss / 1e6);
  const thousands = (requests * (1 - warmUp)) / 1000;
  // The variation of RSS and heap in an idle process; a leak grows with the requests and exceeds it.
  const bound = { rss: 4 / thousands, heap: 1 / thousands };
  const violations = [
    ...(rssSlope > bound.rss ? ["RSS grows"] : []),
    ...(heapSlope > bound.heap ? ["the JavaScript heap grows"] : []),
    ...Object.entries(pages).flatMap(([group, { free, total, shared }]) =>
      free === total && shared === 0 ? [] : [`${total - free} pages of group ${group} in use, ${shared} shared`],
    ),
    ...(running + waiting > 0 ? [`${running} running and ${waiting} waiting`] : []),
  ];
  const report = {
    requests,
    seconds: rounded(seconds),
    ends,
    steps,
    promptTokens,
    cachedTokens,
    completionTokens,
    preemptions,
    rssMB: { first: rounded(rss[0]!), last: rounded(rss.at(-1)!), max: rounded(Math.max(...rss)) },
    rssSlopeMBPer1000: rounded(rssSlope),
    heapSlopeMBPer1000: rounded(heapSlope),
    boundMBPer1000: { rss: rounded(bound.rss), heap: rounded(bound.heap) },
    pages,
    violations,
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exitCode = violations.length === 0 ? 0 : 1;
}

await main();
