import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Engine } from "../../lib/index.js";
import { percentile } from "./statistics.js";

export interface StreamsShape {
  streams: number;
  promptTokens: number;
  maxTokens: number;
}

export interface StreamsTimings {
  /** Of all streams together, from the first request to the last token, prompts and waiting included. */
  tokensPerSecond: number;
  /** From the request to its first token, as the reader sees it. */
  firstTokenMilliseconds: { p50: number; p99: number };
  /** From one token of a stream to its next one. */
  interTokenMilliseconds: { p50: number; p99: number };
  /** The delay of a timer of 1 ms meanwhile, p99: how long other work of a service would wait. */
  eventLoopDelayMilliseconds: number;
  /** Between the first and the last token, of the first stream. */
  decodeMilliseconds: number;
}

/** Random ids, different each time, so that no prefix can be reused. */
export function randomPrompt(tokens: number, vocab: number): number[] {
  return Array.from({ length: tokens }, () => Math.floor(Math.random() * Math.min(vocab, 199_998)));
}

/** Starts all requests at the same moment, each with a different prompt and a separate reader. */
export async function runStreams(engine: Engine, shape: StreamsShape): Promise<StreamsTimings> {
  const { streams, promptTokens, maxTokens } = shape;
  const prompts = Array.from({ length: streams }, () => randomPrompt(promptTokens, engine.info.model.vocab));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const arrivals = await Promise.all(
    prompts.map(async (prompt) => {
      const times: number[] = [];
      for await (const _ of engine.generate(prompt, { temperature: 0, maxTokens, ignoreEos: true })) {
        times.push(performance.now());
      }
      return times;
    }),
  );
  const milliseconds = performance.now() - started;
  delay.disable();
  const percentiles = (values: number[]) => ({ p50: percentile(values, 50), p99: percentile(values, 99) });
  const [first] = arrivals as [number[]];
  return {
    tokensPerSecond: (1000 * streams * maxTokens) / milliseconds,
    firstTokenMilliseconds: percentiles(arrivals.map((times) => times[0]! - started)),
    interTokenMilliseconds: percentiles(arrivals.flatMap((times) => times.slice(1).map((time, i) => time - times[i]!))),
    eventLoopDelayMilliseconds: delay.percentile(99) / 1e6,
    decodeMilliseconds: first.at(-1)! - first[0]!,
  };
}
