import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Engine } from "../../engine.js";

/** Many requests at once, as a service has them. */

export interface StreamsResult {
  /** From the first request to the last token, prompts and waiting included. */
  milliseconds: number;
  /** Of each request, from its start to its first token, as its reader sees it. */
  firstToken: number[];
  /** Of all requests, from one token to the next one. */
  interToken: number[];
  /** The delay of a timer of 1 ms meanwhile, p99: how long other work of a service would wait. */
  eventLoopDelay: number;
}

/** Starts a request for each prompt at the same moment, each with a reader of its own. */
export async function runStreams(
  engine: Engine,
  prompts: readonly number[][],
  maxTokens: number,
  signal: AbortSignal,
): Promise<StreamsResult> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  try {
    const arrivals = await Promise.all(
      prompts.map(async (prompt) => {
        const times: number[] = [];
        const run = engine.generate(prompt, { temperature: 0, maxTokens, ignoreEos: true, signal });
        for await (const _ of run) times.push(performance.now());
        return times;
      }),
    );
    return {
      milliseconds: performance.now() - started,
      firstToken: arrivals.map((times) => times[0]! - started),
      interToken: arrivals.flatMap((times) => times.slice(1).map((time, i) => time - times[i]!)),
      eventLoopDelay: delay.percentile(99) / 1e6,
    };
  } finally {
    delay.disable();
  }
}
