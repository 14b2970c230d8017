import { describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import "../../support/server-endpoints.js";
import { failure, post, testServers, tinyModel } from "../../support/server-operations.js";

const { engine, server } = testServers();

describe("metrics", () => {
  /** Names of samples and types; values by name and labels. */
  function parse(text: string) {
    const types = new Map<string, string>();
    const values = new Map<string, number>();
    for (const line of text.split("\n")) {
      const type = /^# TYPE (\S+) (\S+)$/.exec(line);
      if (type) types.set(type[1]!, type[2]!);
      if (line === "" || line.startsWith("#")) continue;
      const sample = /^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$/.exec(line);
      expect(sample, line).not.toBeNull();
      values.set(sample![1]! + (sample![2] ?? ""), Number(sample![3]!.replace("+Inf", "Infinity")));
    }
    return { types, values };
  }

  const gauges = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "gpt_oss:grammar_bytes",
    "vllm:cache_config_info",
    "gpt_oss:num_sequences_blocked",
    "gpt_oss:num_sequences_aside",
  ];
  const counters = [
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "http_requests_total",
    "http_stalled_readers_total",
  ];
  const histograms = [
    "vllm:iteration_tokens_total",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:request_max_num_generation_tokens",
    "vllm:request_params_max_tokens",
    "vllm:request_params_n",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:time_per_output_token_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_inference_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "http_request_duration_seconds",
  ];

  it("have vLLM's names and types, and those of Node's process", async () => {
    const app = await server();
    await app.inject("/version");
    const { headers, body } = await app.inject("/metrics");
    expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    const { types } = parse(body);
    const ours = [...types].filter(([name]) => !/^(process|nodejs)_/.test(name)).sort();
    const expected = [
      ...gauges.map((name) => [name, "gauge"]),
      ...counters.map((name) => [name, "counter"]),
      ...histograms.map((name) => [name, "histogram"]),
    ];
    expect(ours).toEqual(expected.sort());
    expect([...types.keys()]).toEqual(
      expect.arrayContaining([
        "process_resident_memory_bytes",
        "nodejs_eventloop_lag_p99_seconds",
        "nodejs_heap_size_used_bytes",
      ]),
    );
  });

  it("count what the engine does, whoever asks it, and one engine only", async () => {
    await using own = await Engine.load(tinyModel, { contextLength: 256 });
    const app = await server({ engine: own, modelName: 'a "model"' });
    const labels = 'model_name="a \\"model\\"",engine="0"';
    await app.inject(post("/v1/work", { prompt: [1, 2, 3], n: 2 }));
    await own.generate([5, 6], { maxTokens: 4, temperature: 0, ignoreEos: true }).result;
    await engine().generate([5, 6], { maxTokens: 4 }).result;
    const { values } = parse((await app.inject("/metrics")).body);
    const value = (name: string, more = "") => values.get(`${name}{${labels}${more}}`);
    const bucket = (name: string, le: string) => values.get(`${name}_bucket{le="${le}",${labels}}`);
    expect(value("vllm:generation_tokens_total")).toBe(20);
    const { promptTokens, cachedTokens } = own.stats();
    expect(value("vllm:prompt_tokens_total")).toBe(promptTokens + cachedTokens);
    expect(value("vllm:prefix_cache_queries_total")).toBe(promptTokens + cachedTokens);
    expect(value("vllm:prefix_cache_hits_total")).toBe(cachedTokens);
    expect(value("vllm:request_params_max_tokens_sum")).toBe(8 + 4);
    expect(value("vllm:request_success_total", ',finished_reason="length"')).toBe(2);
    expect(value("vllm:request_success_total", ',finished_reason="abort"')).toBe(0);
    expect(value("vllm:request_success_total", ',finished_reason="error"')).toBe(0);
    expect(value("vllm:request_prompt_tokens_count")).toBe(2);
    expect(value("vllm:request_prompt_tokens_sum")).toBe(5);
    expect(bucket("vllm:request_prompt_tokens", "2")).toBe(1);
    expect(value("vllm:request_max_num_generation_tokens_sum")).toBe(12);
    expect(value("vllm:request_params_n_sum")).toBe(3);
    expect(value("vllm:time_to_first_token_seconds_count")).toBe(2);
    expect(value("vllm:inter_token_latency_seconds_count")).toBe(2 * 7 + 3);
    expect(bucket("vllm:inter_token_latency_seconds", "80")).toBe(17);
    expect(bucket("vllm:inter_token_latency_seconds", "+Inf")).toBe(17);
    expect(value("vllm:iteration_tokens_total_count")).toBe(own.stats().steps);
    expect(value("vllm:iteration_tokens_total_sum")).toBe(own.stats().tokensPerStep.sum);
    expect(value("vllm:kv_cache_usage_perc")).toBe(0);
    const { total } = own.stats().pages.full;
    const info = `,block_size="64",num_gpu_blocks="${total}",cache_dtype="f32",enable_prefix_caching="true"`;
    expect(value("vllm:cache_config_info", info)).toBe(1);
    expect(values.get('http_requests_total{handler="/v1/work",method="POST",status="200"}')).toBe(1);
  });

  it("tell apart who left, who aborted, and what failed", async () => {
    const own = await Engine.load(tinyModel, { contextLength: 256 });
    const app = await server({ engine: own });
    const ask = (signal?: AbortSignal) => own.generate([7], { ignoreEos: true, ...(signal && { signal }) });
    const outcomes = async () => {
      const { values } = parse((await app.inject("/metrics")).body);
      const of = (reason: string) =>
        values.get(`vllm:request_success_total{model_name="gpt-oss",engine="0",finished_reason="${reason}"}`);
      return { stop: of("stop"), length: of("length"), abort: of("abort"), error: of("error") };
    };
    for await (const _ of ask()) break;
    await expect.poll(outcomes).toEqual({ stop: 1, length: 0, abort: 0, error: 0 });
    const allowed = 'vllm:request_params_max_tokens_sum{model_name="gpt-oss",engine="0"} 255\n';
    expect((await app.inject("/metrics")).body).toContain(allowed);
    const controller = new AbortController();
    const aborted = ask(controller.signal);
    controller.abort();
    await failure(() => aborted.result);
    expect(await outcomes()).toEqual({ stop: 1, length: 0, abort: 1, error: 0 });
    const failing = ask();
    await Promise.all([failure(() => failing.result), own.close()]);
    expect(await outcomes()).toEqual({ stop: 1, length: 0, abort: 1, error: 1 });
  });

  it("are cumulative, and name made-up paths once", async () => {
    const app = await server();
    for (const url of ["/a", "/b", "/v1/c"]) await app.inject(url);
    const { types, values } = parse((await app.inject("/metrics")).body);
    expect(values.get('http_requests_total{handler="none",method="GET",status="404"}')).toBe(3);
    for (const [name, type] of types) {
      if (type !== "histogram" || !name.startsWith("vllm:")) continue;
      const buckets = [...values].filter(([key]) => key.startsWith(`${name}_bucket`)).map(([, count]) => count);
      expect(buckets.length).toBeGreaterThan(5);
      expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
    }
  });
});
