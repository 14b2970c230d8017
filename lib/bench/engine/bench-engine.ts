import { setMaxListeners } from "node:events";
import { addon } from "../../binding.js";
import { throwIfAborted } from "../../common/abort.js";
import type { Engine } from "../../engine.js";
import type { ModelConfig } from "../../native/checkpoint.js";
import type { BenchParameters, BenchUnit, BenchValue, NewRow } from "../rows.js";
import { measured, percentile, seededRandom } from "../statistics.js";
import { engineAbout, engineParameters } from "./parameters.js";
import { runStreams } from "./streams.js";

/** Measures a loaded engine through its public calls: prefill, decode, and many requests at once. */

export const engineMeasures = ["prefill", "decode", "concurrency"] as const;

export interface EngineSweep {
  /** Which of them are measured. */
  only: readonly (typeof engineMeasures)[number][];
  /** Lengths of prompts. */
  prefill: readonly number[];
  /** Tokens in the KV cache when decoding starts. */
  decode: readonly number[];
  /** Requests at once. */
  concurrency: readonly number[];
  /** Tokens of the prompt of each request of `concurrency`. */
  inputTokens: number;
  /** Tokens of each answer; 2 and more. */
  outputTokens: number;
  /** Samples of each row. */
  rounds: number;
}

export interface EngineBench extends EngineSweep {
  /** Name of the model, for the rows. */
  model: string;
  engine: Engine;
  signal: AbortSignal;
}

/** The tokens of the longest sequence. */
export function longestSequence({ only, prefill, decode, inputTokens, outputTokens }: EngineSweep): number {
  return Math.max(
    ...(only.includes("prefill") ? prefill.map((tokens) => tokens + 1) : []),
    ...(only.includes("decode") ? decode.map((context) => context + outputTokens) : []),
    ...(only.includes("concurrency") ? [inputTokens + outputTokens] : []),
  );
}

/** Sequences take whole pages of the cache, and some more for the window. */
const roundedTokens = 128;

/** The bytes of a KV cache with twice the pages that the sequences need, so that none waits for a page. */
export function cacheBytes(sweep: EngineSweep, { layers, kvHeads, headDim }: ModelConfig): number {
  const { only, concurrency, inputTokens, outputTokens } = sweep;
  const rounded = (tokens: number) => Math.ceil(tokens / roundedTokens) * roundedTokens;
  const together = only.includes("concurrency") ? Math.max(...concurrency) * rounded(inputTokens + outputTokens) : 0;
  const bytesOfToken = 2 * 4 * kvHeads * headDim * layers; // keys and values, at most in float32
  return 2 * Math.max(rounded(longestSequence(sweep)), together) * bytesOfToken;
}

/** Unit and direction of each value, by its name. */
type Units = Record<string, [unit: BenchUnit, better: BenchValue["better"]]>;

/** A row to measure: a round gives a sample of each of its values. */
interface Case {
  name: (typeof engineMeasures)[number];
  parameters: BenchParameters;
  units: Units;
  round: () => Promise<Record<string, number>>;
  about?: NewRow["about"];
}

/** Gives each row at the end of its rounds. After an abort, the row that was measured has the rounds until then. */
export async function* benchEngine(
  bench: EngineBench,
  progress: (text: string) => void,
): AsyncGenerator<NewRow, void, undefined> {
  const { signal, rounds } = bench;
  setMaxListeners(0, signal); // one for each request at once
  const measures = new EngineMeasures(bench);
  progress("warm-up");
  await measures.warmUp();
  const cases = measures.cases();
  for (const [i, one] of cases.entries()) {
    const what = [one.name, ...Object.entries(one.parameters).map(([key, value]) => `${key} ${value}`)].join(", ");
    const row = await measures.row(one, (round) =>
      progress(`${i + 1} of ${cases.length}: ${what}, round ${round + 1} of ${rounds}`),
    );
    if (row !== null) yield row;
    throwIfAborted(signal);
  }
}

/** The buffer of the roof: past the last-level cache of any machine at hand. */
const roofBytes = 512e6;

/** The values of each measure. `roof`: those of `decode` where the roof is known. */
export const engineUnits = {
  prefill: { throughput: ["tokens/s", "more"], time: ["ms", "less"] },
  decode: { throughput: ["tokens/s", "more"], time: ["ms", "less"], bandwidth: ["GB/s", null] },
  roof: { roofBandwidth: ["GB/s", null], roofShare: ["share", null] },
  concurrency: {
    outputThroughput: ["tokens/s", "more"],
    ttft: ["ms", "less"],
    ttftP99: ["ms", "less"],
    itl: ["ms", "less"],
    itlP99: ["ms", "less"],
    eventLoopDelay: ["ms", "less"],
  },
} satisfies Record<string, Units>;

class EngineMeasures {
  /** The same prompts in each run, and no two with a common beginning. */
  readonly #random = seededRandom(1);

  constructor(private readonly bench: EngineBench) {}

  /** Touches the pages of the weights, and starts the threads. */
  async warmUp(): Promise<void> {
    const { outputTokens } = this.bench;
    await this.#timings(this.#prompt(Math.max(1, longestSequence(this.bench) - outputTokens)), outputTokens);
  }

  cases(): Case[] {
    const { only, prefill, decode, concurrency } = this.bench;
    const frontiers = this.#prompt(Math.max(...decode));
    return [
      ...(only.includes("prefill") ? prefill.map((tokens) => this.#prefill(tokens)) : []),
      ...(only.includes("decode") ? decode.map((context) => this.#decode(frontiers.slice(0, context))) : []),
      ...(only.includes("concurrency") ? concurrency.map((requests) => this.#concurrency(requests)) : []),
    ];
  }

  /** @returns null where an abort came before the end of the first round */
  async row(one: Case, onRound: (round: number) => void): Promise<NewRow | null> {
    const { model, engine, rounds, signal } = this.bench;
    const samples: Record<string, number>[] = [];
    try {
      for (let round = 0; round < rounds && !signal.aborted; round++) {
        onRound(round);
        samples.push(await one.round());
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (samples.length === 0) return null;
    const valueFrom = (name: string, [unit, better]: Units[string]) =>
      measured(
        samples.map((sample) => sample[name]!),
        unit,
        better,
      );
    return {
      bench: "engine",
      name: one.name,
      parameters: { ...engineParameters(model, engine.info), ...one.parameters },
      values: Object.fromEntries(Object.entries(one.units).map(([name, unit]) => [name, valueFrom(name, unit)])),
      about: { ...engineAbout(engine.info), ...one.about, interrupted: signal.aborted },
    };
  }

  #prefill(tokens: number): Case {
    const round = async () => {
      const { prefillMilliseconds: time } = await this.#timings(this.#prompt(tokens), 1);
      return { throughput: (1000 * tokens) / time, time };
    };
    return { name: "prefill", parameters: { inputTokens: tokens }, units: engineUnits.prefill, round };
  }

  /** Every round has the same prompt, which begins with those of smaller contexts: the prefix cache has its keys. */
  #decode(prompt: number[]): Case {
    const { engine, outputTokens } = this.bench;
    const { backend, threads } = engine.info;
    const steps = outputTokens - 1; // the prefill gives the first token
    const bytesPerToken = Math.round(engine.bytesPerToken(prompt.length + Math.round(steps / 2)));
    const round = async () => {
      const time = (await this.#timings(prompt, outputTokens)).decodeMilliseconds / steps;
      const bandwidth = bytesPerToken / time / 1e6;
      const decoded = { throughput: 1000 / time, time, bandwidth };
      if (backend !== "cpu") return decoded;
      // Right after the sample that it is compared with: other programs and the clock change the memory's speed.
      const roofBandwidth = addon().memoryBandwidth(roofBytes, threads) / 1e9;
      return { ...decoded, roofBandwidth, roofShare: bandwidth / roofBandwidth };
    };
    return {
      name: "decode",
      parameters: { context: prompt.length, outputTokens },
      units: { ...engineUnits.decode, ...(backend === "cpu" && engineUnits.roof) },
      round,
      about: { bytesPerToken },
    };
  }

  #concurrency(requests: number): Case {
    const { engine, inputTokens, outputTokens, signal } = this.bench;
    const round = async () => {
      const prompts = Array.from({ length: requests }, () => this.#prompt(inputTokens));
      const result = await runStreams(engine, prompts, outputTokens, signal);
      return {
        outputThroughput: (1000 * requests * outputTokens) / result.milliseconds,
        ttft: percentile(result.firstToken, 50),
        ttftP99: percentile(result.firstToken, 99),
        itl: percentile(result.interToken, 50),
        itlP99: percentile(result.interToken, 99),
        eventLoopDelay: result.eventLoopDelay,
      };
    };
    const parameters = { requests, inputTokens, outputTokens };
    return { name: "concurrency", parameters, units: engineUnits.concurrency, round };
  }

  #prompt(tokens: number): number[] {
    const ids = Math.min(this.bench.engine.info.model.vocab, 199_998); // the special tokens come after them
    return Array.from({ length: tokens }, () => Math.floor(this.#random() * ids));
  }

  async #timings(prompt: number[], maxTokens: number) {
    const { engine, signal } = this.bench;
    return (await engine.generate(prompt, { temperature: 0, maxTokens, ignoreEos: true, signal }).result).timings;
  }
}
