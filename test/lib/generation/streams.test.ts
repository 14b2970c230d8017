import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { Engine, type GenerateOptions } from "../../../lib/index.js";
import { seededRandom } from "../../support/random.js";
import { recorded } from "../../support/recorded.js";

/** 256 streams at once on the demo model: the output of each, and the resources left in use. */

interface Stream {
  prompt: number[];
  options: GenerateOptions;
}

interface Round {
  /** The tokens of each stream, in the order of the streams, which may differ from their order of admission. */
  tokens: number[][];
  peakRunning: number;
  pagesInUse: number;
}

const run = promisify(execFile);
const built = path.resolve("dist/index.js");

// 16 prompts with 16 seeds each, half of them greedy. The prompts are in the prefix cache, so the streams take all the
// time.
const prompts = recorded.slice(0, 16).map(({ prompt_ids }) => prompt_ids);
const streams: Stream[] = Array.from({ length: 256 }, (_, i) => ({
  prompt: prompts[i % prompts.length]!,
  options: { temperature: i % 32 < 16 ? 0 : 3, seed: i, maxTokens: 16 + (i % 9), ignoreEos: true, priority: i % 3 },
}));
const random = seededRandom(3);
const shuffled = streams
  .map((_, i) => ({ i, rank: random() }))
  .sort((a, b) => a.rank - b.rank)
  .map(({ i }) => i);

/** Two rounds, in a process without other work. `npm run bench` measures their effect on its event loop. */
const script = `
  import { readFileSync } from "node:fs";
  import { Engine } from ${JSON.stringify(built)};
  const { streams, orders } = JSON.parse(readFileSync(0, "utf8"));
  const engine = await Engine.load("demo", { maxSequences: 256, kvCache: { bytes: "160MiB" } });
  for (const { prompt } of streams.slice(0, ${prompts.length})) await engine.generate(prompt, { maxTokens: 1 }).result;
  async function round(order) {
    let peakRunning = 0;
    const watch = setInterval(() => { peakRunning = Math.max(peakRunning, engine.stats().running); }, 20);
    const tokens = [];
    await Promise.all(order.map(async (i) => {
      tokens[i] = [];
      for await (const { token } of engine.generate(streams[i].prompt, streams[i].options)) tokens[i].push(token);
    }));
    clearInterval(watch);
    const { full, window } = engine.stats().pages;
    const pagesInUse = full.total - full.free + full.shared + window.total - window.free + window.shared;
    return { tokens, peakRunning, pagesInUse };
  }
  const rounds = [await round(orders[0]), await round(orders[1])];
  await engine.close();
  process.stdout.write(JSON.stringify(rounds));
`;

describe("256 concurrent streams on the demo model", () => {
  let rounds: Round[];
  beforeAll(async () => {
    const child = run(process.execPath, ["--input-type=module", "--eval", script], { maxBuffer: 2 ** 26 });
    child.child.stdin!.end(JSON.stringify({ streams, orders: [streams.map((_, i) => i), shuffled] }));
    rounds = JSON.parse((await child).stdout);
  }, 300_000);

  it("run at the same time", () => {
    for (const { peakRunning } of rounds) expect(peakRunning).toBe(256);
  });

  it("give the same tokens in another order of admission", () => {
    const lengths = streams.map(({ options }) => options.maxTokens);
    for (const { tokens } of rounds) {
      expect(tokens.map(({ length }) => length)).toEqual(lengths);
      expect(tokens).toEqual(rounds[0]!.tokens);
    }
    // the seeds have an effect
    const different = new Set(rounds[0]!.tokens.map((tokens) => tokens.slice(0, 16).join()));
    expect(different.size).toBeGreaterThan(prompts.length + 100);
  });

  it("give the same tokens as each of 64 of them alone, without a prefix cache", { timeout: 300_000 }, async () => {
    await using engine = await Engine.load("demo", { prefixCache: false, kvCache: { bytes: "8MiB" } });
    for (const i of shuffled.slice(0, 64)) {
      const { prompt, options } = streams[i]!;
      expect((await engine.generate(prompt, options).result).tokens, `stream ${i}`).toEqual(rounds[0]!.tokens[i]);
    }
    expect(engine.stats().cachedTokens).toBe(0);
  });

  it("leave every page free", () => {
    for (const { pagesInUse } of rounds) expect(pagesInUse).toBe(0);
  });
});
