import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { benchEngine, cacheBytes, type EngineSweep, longestSequence } from "../../../lib/bench/engine/bench-engine.js";
import type { NewRow } from "../../../lib/bench/rows.js";
import { Engine } from "../../../lib/index.js";
import { rowsOf } from "../../support/bench-rows.js";
import { finish, run, start } from "../../support/cli.js";

/** `gpt-oss bench engine`. Speeds are not checked. */

const tiny = ["synthetic:tiny", "--threads", "1", "--output-tokens", "4", "--input-tokens", "8"];
const bench = (...args: string[]) => run(["bench", "engine", ...tiny, ...args]);

describe("gpt-oss bench engine", () => {
  it("prints a row for each length, context and number of requests", async () => {
    const lists = ["--prefill", "5,40", "--decode", "6,70", "--concurrency", "1,3", "--rounds", "2"];
    const { code, stdout, stderr } = await bench(...lists, "--numerics", "exact", "--kv-dtype", "bf16", "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const rows = rowsOf(stdout);
    const engine = { model: "synthetic:tiny", backend: "cpu", numerics: "exact", kvCacheDtype: "bf16", threads: 1 };
    const concurrency = { inputTokens: 8, outputTokens: 4 };
    expect(rows).toMatchObject([
      { name: "prefill", parameters: { ...engine, inputTokens: 5 } },
      { name: "prefill", parameters: { inputTokens: 40 } },
      { name: "decode", parameters: { ...engine, context: 6, outputTokens: 4 } },
      { name: "decode", parameters: { context: 70 } },
      { name: "concurrency", parameters: { ...engine, requests: 1, ...concurrency } },
      { name: "concurrency", parameters: { requests: 3, ...concurrency } },
    ]);
    for (const { bench, name, values, about } of rows) {
      expect(bench).toBe("engine");
      expect(about).toMatchObject({ interrupted: false, maxBatchTokens: expect.any(Number) });
      const [leading] = Object.values(values);
      expect(leading).toMatchObject({ unit: "tokens/s", better: "more" });
      for (const { samples, median } of Object.values(values)) {
        expect(samples).toHaveLength(2);
        expect(median).toBeGreaterThan(0);
      }
      if (name !== "decode") continue;
      const share = values.bandwidth!.samples!.map((bandwidth, i) => bandwidth / values.roofBandwidth!.samples![i]!);
      expect(values.roofShare!.samples![1]! / share[1]!).toBeCloseTo(1, 3); // samples have five digits
      const time = values.time!.samples![0]!;
      expect(values.bandwidth!.samples![0]! / (Number(about.bytesPerToken) / time / 1e6)).toBeCloseTo(1, 3);
    }
  });

  it("prints tables for people", async () => {
    const { code, stdout } = await bench("--only", "prefill,concurrency", "--prefill", "5", "--rounds", "1");
    expect(code).toBe(0);
    expect(stdout).toMatch(/model synthetic:tiny, backend cpu/);
    expect(stdout).toMatch(/^engine +throughput tokens\/s +time ms\nprefill +[\d.]+ +[\d.]+$/m);
    expect(stdout).toMatch(/^engine +requests +outputThroughput tokens\/s +ttft ms/m);
    expect(stdout).toMatch(/^concurrency +16 +[\d.]+/m);
    expect(stdout).not.toContain("decode");
  });

  it("measures the demo model without a name, and says so", async () => {
    const { code, stdout, stderr } = await run([
      ...["bench", "engine", "--only", "prefill", "--prefill", "5", "--rounds", "1", "--json"],
    ]);
    expect(code).toBe(0);
    expect(rowsOf(stdout)[0]!.parameters.model).toBe("demo");
    expect(stderr).toContain("gpt-oss bench engine openai/gpt-oss-20b");
  });

  it("ends with 130 at Ctrl-C, with what was measured", async () => {
    const lengths = Array.from({ length: 2000 }, (_, i) => i + 1).join(",");
    const child = start(["bench", "engine", ...tiny, "--only", "prefill", "--prefill", lengths, "--json"]);
    child.stdout.once("data", () => child.kill("SIGINT"));
    const { code, stdout, stderr } = await finish(child);
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    const rows = rowsOf(stdout);
    expect(rows.length).toBeLessThan(2000);
  });

  it.each([
    [["--only", "nope"], 2, /--only has prefill, decode, concurrency; there is no nope/],
    [["--prefill", "0"], 2, /Expected integers/],
    [["--concurrency", "1,x"], 2, /Expected integers/],
    [["--rounds", "0"], 2, /Expected an integer >= 1/],
    [["--output-tokens", "1"], 2, /Expected an integer >= 2/],
    [["--input-tokens", "a"], 2, /Expected an integer/],
    [["--backend", "vulkan"], 2, /"metal"/],
    [["--context-length", "100"], 2, /longest sequence has 1028 tokens, and --context-length 100/],
    [["--baseline", "/no/such/file"], 2, /cannot be read/],
    [["--threads", "0"], 2, /threads/],
  ] as const)("refuses %j", async (args, exitCode, message) => {
    const { code, stdout, stderr } = await bench(...args);
    expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  it("exits with 1 for a model that is not there", async () => {
    const { code, stdout, stderr } = await run(["bench", "engine", "/no/such/model"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/\(MODEL_NOT_FOUND\)/);
  });
});

describe("benchEngine", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load("synthetic:tiny", { backend: "cpu", threads: 1 });
  });
  afterAll(() => engine.close());

  const sweep: EngineSweep = {
    ...{ only: ["prefill"], prefill: [4, 5], decode: [6], concurrency: [2] },
    ...{ inputTokens: 10, outputTokens: 3, rounds: 1_000_000 },
  };

  it.each(["prefill", "decode", "concurrency"] as const)("%s: stops between two rounds", async (measure) => {
    const stop = new AbortController();
    const given = { ...sweep, only: [measure], model: "m", engine, signal: stop.signal };
    const rows: NewRow[] = [];
    const measuring = (async () => {
      const watch = (text: string) => {
        if (text.includes("round 3 of 1000000")) stop.abort(new Error("enough"));
      };
      for await (const row of benchEngine(given, watch)) rows.push(row);
    })();
    await expect(measuring).rejects.toThrow("enough");
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ name: measure, about: { interrupted: true } });
    for (const { samples } of Object.values(rows[0]!.values)) expect(samples).toHaveLength(2);
  });

  it("gives no row where no round has ended", async () => {
    const stop = new AbortController();
    const watch = (text: string) => {
      if (text.includes("round 1")) stop.abort(new Error("enough"));
    };
    const measuring = benchEngine({ ...sweep, model: "m", engine, signal: stop.signal }, watch).next();
    await expect(measuring).rejects.toThrow("enough");
  });

  it("asks for room for what is measured, and no more", () => {
    expect(longestSequence(sweep)).toBe(6);
    expect(longestSequence({ ...sweep, only: ["prefill", "decode"] })).toBe(9);
    expect(longestSequence({ ...sweep, only: ["prefill", "decode", "concurrency"] })).toBe(13);
    const { model } = engine.info;
    const bytesOfToken = 8 * model.kvHeads * model.headDim * model.layers;
    expect(cacheBytes(sweep, model)).toBe(2 * 128 * bytesOfToken);
    expect(cacheBytes({ ...sweep, only: ["concurrency"], concurrency: [1, 7] }, model)).toBe(
      2 * 7 * 128 * bytesOfToken,
    );
  });
});
