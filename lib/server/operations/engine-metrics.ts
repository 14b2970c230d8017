import { Counter, Gauge, type Metric, type Registry } from "prom-client";
import type { EngineStats, Histogram } from "../../binding.js";
import type { Engine } from "../../engine.js";

const labelNames = ["model_name", "engine"];

const stepTokenBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
export const tokenLatencyBuckets = [
  ...[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75],
  ...[1, 2.5, 5, 7.5, 10, 20, 40, 80],
];

/** The engine's own counters, read on each scrape and stored only there. */
export class EngineMetrics {
  readonly #labels: Record<string, string>;
  readonly #gauges: [Gauge, (stats: EngineStats) => number][];
  readonly #counters: [Counter, (stats: EngineStats) => number][];
  readonly #histograms: [CountedHistogram, (stats: EngineStats) => Histogram, number][];
  readonly #cacheInfo: Gauge;

  constructor(registry: Registry, labels: Record<string, string>) {
    const registers = [registry];
    const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers });
    const counter = (name: string, help: string) => new Counter({ name, help, labelNames, registers });
    const histogram = (name: string, help: string, bounds: number[]) => {
      const metric = new CountedHistogram(name, help, bounds);
      registry.registerMetric(metric as unknown as Metric);
      return metric;
    };
    this.#labels = labels;
    this.#gauges = [
      [gauge("vllm:num_requests_running", "Sequences in the batch"), ({ running }) => running],
      [gauge("vllm:num_requests_waiting", "Requests in the queue"), ({ waiting }) => waiting],
      [
        gauge("gpt_oss:num_sequences_blocked", "Sequences whose client does not read, or has not answered"),
        ({ blocked = 0 }) => blocked,
      ],
      [
        gauge("gpt_oss:num_sequences_aside", "Those of them that gave their places to others"),
        ({ aside = 0 }) => aside,
      ],
      [gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1"), kvUsage],
      [gauge("vllm:gpu_cache_usage_perc", "The older name of vllm:kv_cache_usage_perc"), kvUsage],
      [gauge("gpt_oss:grammar_bytes", "Memory of compiled schemas and patterns"), (s) => s.grammarBytes ?? 0],
    ];
    this.#counters = [
      [counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache"), promptTokens],
      [counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache"), (s) => s.cachedTokens],
      [counter("vllm:num_preemptions_total", "Sequences that gave up their KV pages to others"), (s) => s.preemptions],
      [counter("vllm:prompt_tokens_total", "Prompt tokens, computed or found"), promptTokens],
      [counter("vllm:generation_tokens_total", "Tokens generated"), (s) => s.completionTokens],
    ];
    const seconds = 1e-3;
    this.#histograms = [
      [
        histogram("vllm:iteration_tokens_total", "Tokens per step", stepTokenBuckets),
        ({ tokensPerStep }) => tokensPerStep,
        1,
      ],
      [
        histogram("vllm:inter_token_latency_seconds", "Time between two tokens of a sequence", tokenLatencyBuckets),
        ({ interTokenMilliseconds }) => interTokenMilliseconds,
        seconds,
      ],
      [
        histogram(
          "vllm:time_per_output_token_seconds",
          "The older name of vllm:inter_token_latency_seconds",
          tokenLatencyBuckets,
        ),
        ({ interTokenMilliseconds }) => interTokenMilliseconds,
        seconds,
      ],
    ];
    this.#cacheInfo = new Gauge({
      name: "vllm:cache_config_info",
      help: "Geometry of the KV cache",
      labelNames: [...labelNames, "block_size", "num_gpu_blocks", "cache_dtype", "enable_prefix_caching"],
      registers,
    });
  }

  /** Reads the counters once, without waiting for a step. */
  update(engine: Engine): void {
    const stats = engine.stats();
    for (const [gauge, value] of this.#gauges) gauge.set(this.#labels, value(stats));
    for (const [counter, value] of this.#counters) {
      counter.reset();
      counter.inc(this.#labels, value(stats));
    }
    for (const [histogram, of, unit] of this.#histograms) histogram.set(this.#labels, of(stats), unit);
    const { memory, kvCacheDtype, prefixCache } = engine.info;
    const blocks = stats.pages.full.total;
    this.#cacheInfo.reset();
    this.#cacheInfo.set(
      {
        ...this.#labels,
        block_size: blocks > 0 ? Math.round(memory.kvTokens / blocks) : 0,
        num_gpu_blocks: blocks,
        cache_dtype: kvCacheDtype,
        enable_prefix_caching: String(prefixCache),
      },
      1,
    );
  }
}

/** The engine counts computed and cached prompt tokens separately. */
function promptTokens({ promptTokens, cachedTokens }: EngineStats): number {
  return promptTokens + cachedTokens;
}

/** The usage of the fuller page group: that group runs out first. */
function kvUsage({ pages }: EngineStats): number {
  const used = ({ total, free }: { total: number; free: number }) => (total > 0 ? (total - free) / total : 0);
  return Math.max(used(pages.full), used(pages.window));
}

/**
 * A histogram that the engine counts in finer buckets. An engine bucket that begins at or below a border counts as
 * below it. A value up to 12 % above a border can therefore count as below. prom-client accepts any object with a name
 * and `get()` as a metric.
 */
class CountedHistogram {
  readonly name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  #counted: { labels: Record<string, string>; of: Histogram; unit: number } | undefined;

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.#help = help;
    this.#bounds = bounds;
  }

  /** `unit`: the size of one unit of `of` in this histogram's units. */
  set(labels: Record<string, string>, of: Histogram, unit: number): void {
    this.#counted = { labels, of, unit };
  }

  get() {
    return { name: this.name, help: this.#help, type: "histogram", aggregator: "sum", values: this.#values() };
  }

  #values() {
    if (!this.#counted) return [];
    const { labels, of, unit } = this.#counted;
    const value = (suffix: string, value: number, more: Record<string, string | number> = {}) => ({
      metricName: `${this.name}_${suffix}`,
      labels: { ...more, ...labels },
      value,
    });
    const buckets = [...(of.buckets ?? [])];
    let below = 0;
    const values = this.#bounds.map((bound) => {
      // A border and a bucket's begin that should be equal may differ in the last bit.
      while (buckets[0] && buckets[0].from * unit <= bound * (1 + 1e-9)) below += buckets.shift()!.count;
      return value("bucket", below, { le: bound });
    });
    return [
      ...values,
      value("bucket", of.count, { le: "+Inf" }),
      value("sum", of.sum * unit),
      value("count", of.count),
    ];
  }
}
