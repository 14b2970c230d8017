import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { kernelCases } from "../../../lib/bench/kernels/cases.js";
import { benchKernels, textOf } from "../../../lib/bench/kernels/run.js";
import type { BenchRow, NewRow } from "../../../lib/bench/rows.js";
import { kernels } from "../../../lib/kernels/index.js";
import { planModel } from "../../../lib/plan/index.js";
import { rowsOf } from "../../support/bench-rows.js";
import { run } from "../../support/cli.js";

/** `gpt-oss bench kernels`: its rows, its checks and its comparisons. Speeds are not checked, except against a stopwatch. */

const folder = mkdtempSync(path.join(tmpdir(), "bench-kernels-"));
afterAll(() => rmSync(folder, { recursive: true }));

const tiny = ["--shape", "synthetic:tiny", "--threads", "1", "--seconds", "0", "--cold-bytes", "200000"];
const bench = (...args: string[]) => run(["bench", "kernels", ...tiny, ...args]);

describe("gpt-oss bench kernels", () => {
  it.each(["exact", "fast"])("%s: a row for each operation and shape, of the schema", async (numerics) => {
    const { code, stdout, stderr } = await bench(
      "--numerics",
      numerics,
      "--tokens",
      "2,33",
      "--context",
      "70",
      "--json",
    );
    if (numerics === "fast" && stderr.includes("needs a CPU that multiplies bf16")) {
      expect(code).toBe(1);
      return;
    }
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const rows = rowsOf(stdout);
    expect(new Set(rows.map((row) => row.parameters.numerics))).toEqual(new Set([numerics]));
    const every = [
      "embed",
      "rmsNorm",
      "qkv",
      "attention",
      "attention",
      "linear",
      "linear",
      "router",
      "experts",
      "swiglu",
    ];
    if (numerics === "exact") every.push("mxfp4Gemm");
    const decode = ["lmHead", "sample", "sample", "sample"];
    const named = (tokens: number) => rows.filter((row) => row.parameters.tokens === tokens).map(({ name }) => name);
    expect(named(2).sort()).toEqual([...every, ...decode].sort());
    expect(named(33).sort()).toEqual(every.sort());
    for (const { values, about } of rows) {
      expect(values.time).toMatchObject({ unit: "us", better: "less" });
      expect(values.roofShare!.median).toBeGreaterThan(0);
      expect(about.worstError).toBeLessThan(1);
    }
  });

  it("prints tables for people, and the columns in which rows differ", async () => {
    const { code, stdout, stderr } = await bench("--only", "router,linear", "--tokens", "1,2");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/shape synthetic:tiny, backend cpu/);
    expect(stdout).toMatch(/^kernels +tokens +matrix +time us +bandwidth GB\/s/m);
    expect(stdout).toMatch(/^linear +1 +router +[\d.]+ \[[\d.]+ \.\. [\d.]+\] +[\d.]+/m);
    expect(stdout).not.toContain("undefined");
  });

  it("measures what a list names twice once", async () => {
    const { stdout } = await bench("--only", "router,router", "--tokens", "2,1,2", "--json");
    expect(rowsOf(stdout).map(({ parameters }) => parameters.tokens)).toEqual([2, 1]);
  });

  it("compares with an earlier run, row by row", async () => {
    const args = ["--only", "router", "--tokens", "1,2", "--rounds", "1"];
    const before = rowsOf((await bench(...args, "--json")).stdout);
    const [first, second] = before as [BenchRow, BenchRow];
    // As if the first had been much slower, and the second one much faster.
    const scaled = (row: BenchRow, by: number) => ({
      ...row,
      values: { ...row.values, time: { ...row.values.time!, samples: row.values.time!.samples!.map((us) => us * by) } },
    });
    const file = path.join(folder, "before.jsonl");
    writeFileSync(file, [scaled(first, 1000), scaled(second, 0.001)].map((row) => JSON.stringify(row)).join("\n"));
    const { code, stdout } = await bench(...args, "--baseline", file);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^faster +router, .*tokens 1 +x 0\.00/m);
    expect(stdout).toMatch(/^slower +router, .*tokens 2 +x/m);
    expect(stdout).toMatch(/^1 faster, 1 slower, 0 the same, 0 new$/m);
    const others = await bench("--only", "rmsNorm", "--tokens", "1", "--rounds", "1", "--baseline", file);
    expect(others.stdout).toMatch(/^0 faster, 0 slower, 0 the same, 1 new$/m);
  });

  it("compares two builds in one process: bits and time", async () => {
    const copy = path.join(folder, "other.node");
    copyFileSync("build/Release/gpt_oss.node", copy);
    const { code, stdout } = await bench(
      "--only",
      "linear,experts",
      "--tokens",
      "2",
      "--compare-addon",
      copy,
      "--json",
    );
    expect(code).toBe(0);
    const rows = rowsOf(stdout);
    expect(rows.map(({ name }) => name).sort()).toEqual(["experts", "linear", "linear"]);
    for (const row of rows) {
      expect(row.about).toMatchObject({ sameBits: true, verdict: expect.stringMatching(/^(same|faster|slower)$/) });
      expect(row.values.time!.samples!.length).toBe(row.values.otherTime!.samples!.length);
      expect(row.values.ratioLow!.median).toBeLessThanOrEqual(row.values.ratioHigh!.median);
    }
  }, 300_000);

  const rubbish = path.join(folder, "rubbish.jsonl");
  writeFileSync(rubbish, '{"schema":1}\n');
  it.each([
    [["--only", "nope"], 2, /has no operation nope; it has embed/],
    [["--tokens", "0"], 2, /Expected integers/],
    [["--tokens", "1,x"], 2, /Expected integers/],
    [["--shape", "/no/such/model"], 1, /found nothing/],
    [["--isa", "mmx"], 2, /expected one of/],
    [["--backend", "vulkan"], 2, /"metal"/],
    [["--rounds", "0"], 2, /--rounds.* Expected an integer >= 1; .* \(USAGE\)/],
    [["--seconds", "-1"], 2, /--seconds.* Expected a number in \[0, 3600\]; .* \(USAGE\)/],
    [["--seconds", "x"], 2, /--seconds.* Expected a number; .* \(USAGE\)/],
    [["--cold-bytes", "-1"], 2, /--cold-bytes.* Expected an integer in \[0, 17179869184\]; .* \(USAGE\)/],
    [["--cold-bytes", "1e99"], 2, /--cold-bytes.* Expected an integer; .* \(USAGE\)/],
    [["--threads", "0"], 2, /--threads.* Expected an integer in \[1, 1024\]; .* \(USAGE\)/],
    [["--threads", "2000"], 2, /\[1, 1024\]; .* \(USAGE\)/],
    [["--tokens", "65537"], 2, /--tokens.* Expected integers in \[1, 65536\]; .* \(USAGE\)/],
    [["--context", "1,99999999"], 2, /--context.* Expected integers in \[1, 16777216\]; .* \(USAGE\)/],
    [
      ["--addon", "/etc/passwd"],
      1,
      /passwd is no addon of this package: expected a file whose name ends with "\.node"/,
    ],
    [["--baseline", "/no/such/file"], 2, /cannot be read/],
    [["--baseline", rubbish], 2, /line 1: expected a row/],
    [["--compare-addon", "/no/such.node"], 1, /no addon of this package/],
    [["--compare-addon", rubbish], 1, /no addon of this package/],
    [["--compare-addon", "a", "--baseline", "b"], 2, /give one of them/],
  ] as const)("refuses %j", async (args, exitCode, message) => {
    const { code, stdout, stderr } = await bench("--only", "router", ...args);
    expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});

describe("cases", () => {
  it("are each there once", async () => {
    const { model } = await planModel("synthetic:tiny", { backend: "cpu" });
    const cases = kernelCases(model, { tokens: [1, 64], contexts: [8, 16, 100] });
    const texts = cases.map(({ operation, parameters }) => textOf(operation, parameters));
    expect(new Set(texts).size).toBe(texts.length);
    // Of 64 tokens of a prompt, the last one sees 64 keys at least.
    const contexts = cases.flatMap(({ operation, parameters: { tokens, context, window } }) =>
      operation === "attention" && tokens === 64 && window === 0 ? [context] : [],
    );
    expect(contexts).toEqual([64, 100]);
  });
});

describe("benchKernels at an abort", () => {
  it.each([
    [1, 0, []],
    [1, 1, [1]],
    [1, 2, [1, 2]],
    [2, 2, []], // a row has the samples of all rounds
    [2, 5, [1, 2]],
  ])("gives the rows that are complete: %i rounds, before measurement %i", async (rounds, before, tokens) => {
    const { model } = await planModel("synthetic:tiny", { backend: "cpu" });
    await using cpu = kernels("cpu", { threads: 1 });
    const stop = new AbortController();
    const bench = {
      ...{ shape: "tiny", model, kernels: cpu, only: ["router"], tokens: [1, 2, 3], contexts: [8] },
      ...{ denseWeights: "bf16", rounds, coldBytes: 2 ** 20, seconds: 0, signal: stop.signal },
    };
    const rows: NewRow[] = [];
    const measuring = (async () => {
      const watch = (done: number) => {
        if (done === before) stop.abort(new Error("enough"));
      };
      for await (const row of benchKernels(bench, watch)) rows.push(row);
    })();
    await expect(measuring).rejects.toThrow("enough");
    expect(rows.map(({ parameters }) => parameters.tokens)).toEqual(tokens);
    for (const { values } of rows) expect(values.time!.samples).toHaveLength(5 * rounds);
  });
});

describe("times and bytes are those of an independent loop", () => {
  // The same calls, seen from both sides of the thread, so other work on the machine cannot part them.
  it.each([
    ["linear", { rows: 8, in: 2048, out: 2048 }, 2048 * 2048 * 2],
    ["rmsNorm", { rows: 256, hidden: 2880 }, 256 * 2880 * 4],
  ] as const)("%s", async (operation, dims, bytes) => {
    await using cpu = kernels("cpu", { threads: 1 });
    const subject = await cpu.subject(operation, dims, 0);
    await subject.sample(20);
    const calls = 400;
    const shares: number[] = [];
    for (let i = 0; i < 5; i++) {
      const start = performance.now();
      const told = await subject.sample(calls);
      shares.push((told * calls) / ((performance.now() - start) * 1000));
    }
    expect(subject.work.bytes).toBe(bytes);
    expect(Math.max(...shares)).toBeGreaterThan(0.9);
    expect(Math.max(...shares)).toBeLessThanOrEqual(1);
    await subject.dispose();
  });
});
