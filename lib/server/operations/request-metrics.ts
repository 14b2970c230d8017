import { Counter, Histogram, type Registry } from "prom-client";
import type { Engine, RequestMessage } from "../../engine.js";
import { GptOssError } from "../../errors.js";
import { channels, type DoneMessage } from "../../generation/diagnostics.js";
import type { Timings } from "../../generation/results.js";
import { tokenLatencyBuckets } from "./engine-metrics.js";

const labelNames = ["model_name", "engine"];

/** 1, 2, 5, 10 … up to the longest context of a gpt-oss model. */
const countBuckets = [1, 10, 100, 1000, 10_000, 100_000].flatMap((n) => [n, 2 * n, 5 * n]).filter((n) => n <= 131_072);
const choiceBuckets = [1, 2, 5, 10, 20];
const firstTokenBuckets = [
  ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75],
  ...[1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560],
];
const latencyBuckets = [
  ...[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60],
  ...[120, 240, 480, 960, 1920, 7680],
];

type Outcome = "stop" | "length" | "abort" | "error";
const outcomes: readonly Outcome[] = ["stop", "length", "abort", "error"];

/** The outcomes of all requests to one engine, from any endpoint or program. */
export class RequestMetrics {
  readonly #engine: () => Engine | undefined;
  readonly #labels: Record<string, string>;
  readonly #histogram: Record<HistogramName, Histogram>;
  readonly #success: Counter;
  readonly #running = new Map<number, { message: RequestMessage; started: number }>();

  constructor(registry: Registry, labels: Record<string, string>, engine: () => Engine | undefined) {
    const registers = [registry];
    this.#engine = engine;
    this.#labels = labels;
    this.#success = new Counter({
      name: "vllm:request_success_total",
      help: "Requests that have ended, by how",
      labelNames: [...labelNames, "finished_reason"],
      registers,
    });
    for (const finished_reason of outcomes) this.#success.inc({ ...labels, finished_reason }, 0);
    this.#histogram = Object.fromEntries(
      histograms.map(([name, help, buckets]) => {
        const histogram = new Histogram({ name: `vllm:${name}`, help, labelNames, buckets, registers });
        histogram.zero(labels);
        return [name, histogram];
      }),
    ) as Record<HistogramName, Histogram>;
    channels.request.subscribe(this.#begun);
    channels.done.subscribe(this.#done);
  }

  close(): void {
    channels.request.unsubscribe(this.#begun);
    channels.done.unsubscribe(this.#done);
  }

  readonly #begun = (published: unknown) => {
    const message = published as RequestMessage;
    if (message.engine !== this.#engine()) return;
    this.#running.set(message.id, { message, started: performance.now() });
  };

  readonly #done = (published: unknown) => {
    const done = published as DoneMessage;
    const running = this.#running.get(done.id);
    if (!running) return;
    this.#running.delete(done.id);
    this.#success.inc({ ...this.#labels, finished_reason: outcomeOf(done) });
    const { n, maxTokens, engine } = running.message;
    this.#observe("request_prompt_tokens", done.promptTokens);
    this.#observe("request_generation_tokens", done.completionTokens);
    this.#observe("request_max_num_generation_tokens", done.longestCompletion);
    this.#observe("request_params_n", n);
    // A request without a maximum may use the rest of the context.
    const room = engine.info.limits.contextLength - done.promptTokens;
    this.#observe("request_params_max_tokens", Math.min(maxTokens, room));
    this.#observe("e2e_request_latency_seconds", (performance.now() - running.started) / 1000);
    if ("timings" in done) this.#observeTimings(done.timings, done.completionTokens, n);
  };

  #observeTimings(timings: Timings, completionTokens: number, n: number): void {
    const queue = timings.queueMilliseconds / 1000;
    const prefill = timings.prefillMilliseconds / 1000;
    const decode = timings.decodeMilliseconds / 1000;
    this.#observe("request_queue_time_seconds", queue);
    this.#observe("request_inference_time_seconds", prefill + decode);
    this.#observe("request_prefill_time_seconds", prefill);
    this.#observe("request_decode_time_seconds", decode);
    // Without a token there is no first token. The times are those of the first choice.
    if (completionTokens > 0) this.#observe("time_to_first_token_seconds", queue + prefill);
    const intervals = completionTokens / n - 1;
    if (intervals > 0) this.#observe("request_time_per_output_token_seconds", decode / intervals);
  }

  #observe(name: HistogramName, value: number): void {
    this.#histogram[name].observe(this.#labels, value);
  }
}

/** A consumer that leaves the tokens early got enough. An abort or a timeout means that it did not. */
function outcomeOf(done: DoneMessage): Outcome {
  if ("finishReason" in done) return done.finishReason === "cancelled" ? "stop" : done.finishReason;
  return done.error instanceof GptOssError && done.error.code !== "CANCELLED" ? "error" : "abort";
}

const histograms = [
  ["request_prompt_tokens", "Tokens of a prompt", countBuckets],
  ["request_generation_tokens", "Tokens generated for a request, all choices together", countBuckets],
  ["request_max_num_generation_tokens", "Tokens of a request's longest choice", countBuckets],
  ["request_params_max_tokens", "Tokens that a request allowed at most", countBuckets],
  ["request_params_n", "Choices that a request asked for", choiceBuckets],
  ["time_to_first_token_seconds", "From a request to its first token", firstTokenBuckets],
  ["request_time_per_output_token_seconds", "Mean time between the tokens of a request", tokenLatencyBuckets],
  ["e2e_request_latency_seconds", "From a request to its end", latencyBuckets],
  ["request_queue_time_seconds", "Waiting for a place in the batch", latencyBuckets],
  ["request_inference_time_seconds", "From the place in the batch to the last token", latencyBuckets],
  ["request_prefill_time_seconds", "From the place in the batch to the first token", latencyBuckets],
  ["request_decode_time_seconds", "From the first token to the last", latencyBuckets],
] as const satisfies readonly (readonly [string, string, number[]])[];

type HistogramName = (typeof histograms)[number][0];
