import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";

/**
 * Tests of the decisions, results and output of `npm run gpu:check`, and of its steps on the emulated GPU. No GPU is
 * needed.
 */

interface Model {
  layers: number;
  hidden: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  experts: number;
  expertsPerToken: number;
  vocab: number;
  slidingWindow: number;
  layerTypes: string[];
}
type Row = Record<string, unknown>;
interface Step {
  name: string;
  least: number;
  most: number;
  reserve?: number;
}
interface Module {
  allowance(steps: { least: number; most: number }[], index: number, remaining: number): number;
  distinctExperts(model: Model, tokens: number): number;
  stepBytes(model: Model, batch: number, context: number): number;
  tokenFlops(model: Model, tokens: number, keys: number, heads?: number): number;
  roofShare(work: { bytes: number; flops?: number; seconds: number }, roofs: object): number;
  steadyRate(arrivals: number[][]): number | undefined;
  median(values: number[]): number;
  floorRow(line: object, roofs: object): object;
  nativeCounts(text: string): { passed: number; failed: number; failures: string[] };
}
const report = (await import(path.resolve("bench/gpu/report.mjs"))) as Module;
const { Results, readResults } = (await import(path.resolve("bench/gpu/results.mjs"))) as {
  Results: new (of: {
    gpu: string;
    driver: string;
    date: Date;
    commit: string;
    folder: string;
    hidden?: string[];
  }) => {
    file: string;
    roofs: object;
    totals: object;
    add(row: object): void;
    end(step: string, counts: object, more?: object): void;
    log(step: string, text: string): void;
  };
  readResults(file: string): { head: Row; rows: Row[] };
};
const { short, usual } = (await import(path.resolve("bench/gpu/steps/order.mjs"))) as Record<string, Step[]>;
const { decodeRow } = (await import(path.resolve("bench/gpu/steps/decode.mjs"))) as {
  decodeRow(model: string, prompt: number, line: object): Row;
};
const { loads } = (await import(path.resolve("bench/gpu/steps/build.mjs"))) as { loads(file: string): boolean };
const { clocksRow } = (await import(path.resolve("bench/gpu/clocks.mjs"))) as {
  clocksRow(step: string, text: string): object | undefined;
};
const { counterArguments, counterRows } = (await import(path.resolve("bench/gpu/counters.mjs"))) as {
  counterArguments(program: string, args: string[], more?: { all: boolean }): string[];
  counterRows(model: string, text: string): object[];
};
const { targetTable, targets, context } = (await import(path.resolve("bench/gpu/targets.mjs"))) as {
  targetTable(rows: object[]): string;
  targets: { model: string; batch: number; target: number }[];
  context: number;
};

const of20b: Model = {
  layers: 24,
  hidden: 2880,
  intermediate: 2880,
  heads: 64,
  kvHeads: 8,
  headDim: 64,
  experts: 32,
  expertsPerToken: 4,
  vocab: 201_088,
  slidingWindow: 128,
  layerTypes: Array.from({ length: 24 }, (_, i) => (i % 2 === 0 ? "sliding" : "full")),
};
const of120b: Model = {
  ...of20b,
  layers: 36,
  experts: 128,
  layerTypes: Array.from({ length: 36 }, (_, i) => (i % 2 === 0 ? "sliding" : "full")),
};
const roofs = { readBytesPerSecond: 4e12, mmaFlopsPerSecond: 6e14 };

describe("the budget", () => {
  const steps = [
    { least: 45, most: 240 },
    { least: 15, most: 90 },
    { least: 40, most: 100 },
  ];

  it("gives what a step wants while the later ones keep their least", () => {
    expect(report.allowance(steps, 0, 540)).toBe(240);
    expect(report.allowance(steps, 0, 200)).toBe(145);
    expect(report.allowance(steps, 1, 120)).toBe(80);
    expect(report.allowance(steps, 2, 70)).toBe(70);
  });

  it("gives the least to one that starves others, and nothing where not even that is left", () => {
    expect(report.allowance(steps, 0, 60)).toBe(45);
    expect(report.allowance(steps, 1, 15)).toBe(15);
    expect(report.allowance(steps, 2, 39)).toBe(0);
    expect(report.allowance(steps, 2, -5)).toBe(0);
  });

  it("keeps nothing for a later step that reserves nothing", () => {
    const few = [
      { least: 10, most: 100 },
      { least: 60, most: 100, reserve: 0 },
      { least: 20, most: 30 },
    ];
    expect(report.allowance(few, 0, 100)).toBe(80);
    expect(report.allowance(few, 1, 79)).toBe(60);
  });

  it("of a short run: all that matters fits beside a build, and the steps come in the order of what matters", () => {
    const reserved = short!.reduce((sum, { least, reserve = least }) => sum + reserve, 0);
    expect(reserved).toBeLessThan(540 - 240);
    const names = short!.map(({ name }) => name);
    expect(names.slice(0, 4)).toEqual(["build", "roofs", "kernels", "decode:120b"]);
    const order = ["decode:120b", "prefill:120b", "stages", "knobs", "decode:20b", "memcheck", "racecheck", "oracle"];
    expect(names.filter((name) => order.includes(name))).toEqual(order);
    for (const steps of [short!, usual!]) expect(new Set(steps.map(({ name }) => name)).size).toBe(steps.length);
  });
});

describe("bytes and operations", () => {
  it("of one token are those of bench/README and STYLE: 3.7 GB and 5.0 GB", () => {
    expect(report.stepBytes(of20b, 1, 0) / 1e9).toBeCloseTo(3.7, 1);
    expect(report.stepBytes(of120b, 1, 0) / 1e9).toBeCloseTo(5.0, 1);
  });

  it("grow with the experts that a batch draws, and with the cache", () => {
    expect(report.distinctExperts(of20b, 1)).toBeCloseTo(4, 10);
    expect(report.distinctExperts(of20b, 8)).toBeCloseTo(32 * (1 - (7 / 8) ** 8), 10);
    expect(report.distinctExperts(of120b, 1e6)).toBeCloseTo(128, 10);
    // 12 layers see all keys, 12 at most 128; 2 · 8 · 64 values of 2 bytes for each key
    const keys = (context: number) => report.stepBytes(of20b, 3, context) - report.stepBytes(of20b, 3, 0);
    expect(keys(1000)).toBeCloseTo(3 * (12 * 1000 + 12 * 128) * 2048, 0);
    expect(keys(100)).toBeCloseTo(3 * 24 * 100 * 2048, 0);
  });

  it("of a token are twice its active parameters, and four per key, head and dimension", () => {
    expect(report.tokenFlops(of20b, 1, 0) / 2e9).toBeCloseTo(3.6, 1); // 3.6 B active parameters
    const attention = report.tokenFlops(of20b, 10, 1000, 1) - report.tokenFlops(of20b, 10, 0, 1);
    expect(attention).toBe(10 * 4 * (12 * 1000 + 12 * 128) * 64 * 64);
  });
});

describe("shares of the roofs", () => {
  it("take the slower one", () => {
    expect(report.roofShare({ bytes: 4e9, seconds: 2e-3 }, roofs)).toBe(0.5);
    expect(report.roofShare({ bytes: 4e9, flops: 9e11, seconds: 2e-3 }, roofs)).toBe(0.75);
  });
});

describe("clocks", () => {
  it("are those of the samples in which the GPU was busy", () => {
    const text =
      "0, 345, 3201, 75.12, 30\n97, 1980, 3201, 410.50, 41\n[N/A], 1, 1, 1, 1\n99, 1755, 3201, 690.00, 55\n100, 18";
    expect(clocksRow("engine:20b", text)).toEqual({
      bench: "clocks",
      step: "engine:20b",
      samples: 2,
      smMegahertz: [1755, 1868, 1980],
      memoryMegahertz: [3201, 3201, 3201],
      watts: [410.5, 550.3, 690],
      celsius: [41, 48, 55],
    });
    expect(clocksRow("build", "0, 345, 3201, 75.12, 30\n")).toBeUndefined();
  });
});

describe("counters", () => {
  const launch = (id: number, kernel: string, ...cells: string[]) =>
    [`${id}`, "77", "oss_gpu_decode", "127.0.0.1", kernel, "1", "13", "(256, 1, 1)", ...cells]
      .map((cell) => `"${cell}"`)
      .join();
  const head = [
    "ID",
    "Process ID",
    "Process Name",
    "Host Name",
    "Kernel Name",
    "Context",
    "Stream",
    "Block Size",
    "Grid Size",
  ];
  const qkv =
    "void oss::cuda::<unnamed>::matrix_stream_kernel<(int)1, (bool)0, oss::cuda::NormedRows<(bool)0>, oss::cuda::QkvEpilogue>(PackedMatrix, int)";

  it("with a column for each metric: medians of a kernel's launches", () => {
    const columns = [...head, "dram__bytes_read.sum", "gpu__time_duration.sum"].map((cell) => `"${cell}"`).join();
    const units = `${'"",'.repeat(9)}"byte","ns"`;
    const text = `==PROF== Profiling\n{"batch":1}\n${columns}\n${units}\n${[
      launch(0, qkv, "(132, 1, 1)", "29,500,000", "8,000"),
      launch(1, "oss::cuda::<unnamed>::few_down_kernel(PackedCodes, int)", "(264, 1, 1)", "17,700,000", "5,100"),
      launch(2, qkv, "(132, 1, 1)", "29,700,000", "9,000"),
      launch(3, qkv, "(132, 1, 1)", "29,600,000", "n/a"),
    ].join("\n")}\n`;
    expect(counterRows("20b", text)).toEqual([
      {
        bench: "counters",
        model: "20b",
        kernel: "matrix_stream_kernel<1, 0, NormedRows<0>, QkvEpilogue>",
        grid: "(132, 1, 1)",
        launches: 3,
        readBytes: 29_600_000,
        nanoseconds: 8500,
      },
      expect.objectContaining({ kernel: "few_down_kernel", grid: "(264, 1, 1)", launches: 1, nanoseconds: 5100 }),
    ]);
  });

  it("with a line for each metric", () => {
    const columns = [...head, "Metric Name", "Metric Unit", "Metric Value"].map((cell) => `"${cell}"`).join();
    const lines = [
      launch(0, "few_gate_up_kernel", "(264, 1, 1)", "gpu__time_duration.sum", "ns", "9000"),
      launch(0, "few_gate_up_kernel", "(264, 1, 1)", "lts__t_sector_hit_rate.pct", "%", "12.5"),
    ];
    expect(counterRows("20b", [columns, ...lines].join("\n"))).toEqual([
      {
        ...{ bench: "counters", model: "20b", kernel: "few_gate_up_kernel", grid: "(264, 1, 1)", launches: 1 },
        ...{ nanoseconds: 9000, l2HitPercent: 12.5 },
      },
    ]);
    expect(counterRows("20b", "==ERROR== ERR_NVGPUCTRPERM\n")).toEqual([]);
  });

  it("asks for the fused kernels of replayed graphs, with all metrics or with those that every version knows", () => {
    const all = counterArguments("./decode", ["m"]);
    expect(all.slice(-2)).toEqual(["./decode", "m"]);
    const asked = (list: string[]) => list[list.indexOf("--metrics") + 1]!.split(",").length;
    expect([asked(all), asked(counterArguments("./decode", ["m"], { all: false }))]).toEqual([8, 3]);
  });
});

describe("the table of targets", () => {
  const row = { bench: "decode", model: "synthetic:120b", batch: 1, prompt: context, tokensPerSecond: 660 };
  const lines = (rows: object[]) => targetTable(rows).split("\n").slice(2, -2);

  it("has a line for each, measured or not", () => {
    expect(lines([])).toHaveLength(targets.length);
    expect(lines([{ ...row, range: [650, 670], roofShare: 0.781 }])[0]).toBe(
      "| 120b | 1 | 600 (660) | 660 [650..670] | 110 % | 78 % |",
    );
    expect(lines([])[1]).toBe("| 120b | 8 | 1400 | not measured |  |  |");
  });

  it("says how long a start takes", () => {
    const starts = [3.1, 2.5, 2.9].map((seconds) => ({
      bench: "load",
      model: "120b",
      startToFirstTokenSeconds: seconds,
    }));
    expect(targetTable(starts)).toMatch(/target 6 s, 2\.9 \[2\.5\.\.3\.1\] s\.$/);
    expect(targetTable([{ bench: "load", model: "synthetic:120b", milliseconds: 900 }])).toMatch(/not measured\.$/);
  });

  it("takes neither another context, nor another model, nor what was skipped", () => {
    const others = [
      { ...row, prompt: 512 },
      { ...row, model: "synthetic:20b", batch: 2 },
      { bench: "decode", model: "synthetic:120b", batch: 1, prompt: context, skipped: "out of time" },
    ];
    for (const line of lines(others)) expect(line).toContain("not measured");
  });
});

describe("the floor", () => {
  it("a stream has a share of the reading roof", () => {
    const line = { floor: "stream", model: "20b", batch: 1, edges: "none", microseconds: 1000, bytes: 3.7e9 };
    expect(report.floorRow(line, roofs)).toEqual({ bench: "floor", ...line, roofShare: 0.925 });
    expect(report.floorRow(line, {})).toEqual({ bench: "floor", ...line });
  });

  it("what moves nothing has none", () => {
    const line = { floor: "barrier", blocks: 132, microseconds: 1.5 };
    expect(report.floorRow(line, roofs)).toEqual({ bench: "floor", ...line });
  });
});

describe("measurements", () => {
  it("the steady rate counts while all streams decode", () => {
    // both decode between 20 and 50 ms: four tokens of the first and two of the second
    expect(
      report.steadyRate([
        [0, 10, 20, 30, 40, 45, 50],
        [20, 35, 50, 65],
      ]),
    ).toBeCloseTo(6 / 0.03, 6);
    expect(
      report.steadyRate([
        [0, 10],
        [20, 30],
      ]),
    ).toBeUndefined();
    expect(report.steadyRate([[0, 10, 20]])).toBe(100);
  });

  it("the median, and nothing out of nothing", () => {
    expect(report.median([3, 1, 2])).toBe(2);
    expect(report.median([4, 1, 2, 3])).toBe(2.5);
    expect(() => report.median([])).toThrow("nothing was measured");
  });

  it("the C++ tests' own count; one that did not come to its end has failed", () => {
    expect(report.nativeCounts("ok a\nFAIL b\n  why\n  and\nok c\n2 passed, 1 failed\n")).toEqual({
      passed: 2,
      failed: 1,
      failures: ["FAIL b\n  why\n  and"],
    });
    expect(report.nativeCounts("ok a\n")).toEqual({ passed: 0, failed: 1, failures: [] });
  });
});

describe("a decode step after prompts that were not computed", () => {
  const line = { batch: 64, context: 2128, microseconds: [20_000, 16_000, 32_000] };

  it("is a row like that of a decode through Node", () => {
    expect(decodeRow("synthetic:120b", 2048, line)).toMatchObject({
      ...{ bench: "decode", model: "synthetic:120b", batch: 64, prompt: 2048, cache: "assumed", repeats: 3 },
      ...{ microseconds: 20_000, tokensPerSecond: 3200, range: [2000, 4000] },
      bytes: Math.round(report.stepBytes(of120b, 64, 2128)),
    });
  });

  it("says when the streams never decoded together", () => {
    expect(decodeRow("synthetic:120b", 2048, { ...line, microseconds: [] })).toHaveProperty("skipped");
  });
});

describe("the result file", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpu-check-results-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const make = () =>
    new Results({
      gpu: "NVIDIA H200",
      driver: "580.0",
      date: new Date("2026-11-21T23:00:00Z"),
      commit: "abc1234+",
      folder,
      hidden: ["/home/someone/repository"],
    });
  const head = { gpu: "NVIDIA H200", driver: "580.0", date: "2026-11-21T23:00:00.000Z", commit: "abc1234+" };

  it("is named by GPU, time and commit", () => {
    expect(path.basename(make().file)).toBe("nvidia-h200-2026-11-21t23-00-abc1234-dirty.jsonl");
  });

  it("has each row as soon as it is known, one a line, and no path of the machine", () => {
    const results = make();
    expect(readResults(results.file)).toEqual({ head, rows: [] });
    results.add({ bench: "roofs", ...roofs });
    results.log("build", "at /home/someone/repository/native/a.cpp\n\nsecond line\n");
    results.end("build", { passed: 3 }, { seconds: 2 });
    results.end("floor", { failed: 1, skipped: 2 });
    expect(readResults(results.file).rows).toEqual([
      { bench: "roofs", ...roofs },
      { bench: "log", step: "build", text: "at ./native/a.cpp" },
      { bench: "log", step: "build", text: "second line" },
      { bench: "step", step: "build", passed: 3, failed: 0, skipped: 0, seconds: 2 },
      { bench: "step", step: "floor", passed: 0, failed: 1, skipped: 2 },
    ]);
    expect(results.totals).toEqual({ passed: 3, failed: 1, skipped: 2 });
    expect(results.roofs).toMatchObject(roofs);
  });

  it("is read without the line in the middle of which the run was cut", () => {
    const { file } = make();
    writeFileSync(file, `${JSON.stringify(head)}\n{"bench":"load"}\n{"bench":"dec`);
    expect(readResults(file)).toEqual({ head, rows: [{ bench: "load" }] });
  });
});

describe.skipIf(process.platform !== "linux")("what was built before", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpu-check-built-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("is taken only where the system's loader takes it", () => {
    const write = (name: string) => {
      writeFileSync(path.join(folder, name), "no program", { mode: 0o755 });
      return path.join(folder, name);
    };
    expect(loads(process.execPath)).toBe(true);
    expect(loads(path.resolve("build/Release/gpt_oss.node"))).toBe(true);
    for (const name of ["oss_tests", "gpt_oss.node", "libgptoss_cuda.so"]) expect(loads(write(name))).toBe(false);
    expect(loads(path.join(folder, "missing"))).toBe(false);
  });
});

// The emulator supports x86-64 and arm64 on Linux.
const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

(emulated ? it : () => undefined)(
  "writes a checkpoint and loads it, on the emulated GPU, and leaves nothing behind",
  { timeout: 120_000 },
  () => {
    const folder = mkdtempSync(path.join(tmpdir(), "gpu-check-"));
    const { status, stdout } = spawnSync(
      process.execPath,
      ["bench/gpu/check.mjs", "--emulated", "--only", "load:20b"],
      {
        encoding: "utf8",
        env: { ...process.env, TMPDIR: folder },
      },
    );
    const left = readdirSync(folder);
    rmSync(folder, { recursive: true });
    const loads = stdout.split("\n").filter((line) => line.startsWith("{"));
    expect({ status, left, loads: loads.length }, stdout).toEqual({ status: 0, left: [], loads: 3 });
    for (const line of loads)
      expect(JSON.parse(line)).toMatchObject({
        bench: "load",
        bytes: expect.any(Number),
        gigabytesPerSecond: expect.any(Number),
        startToFirstTokenSeconds: expect.any(Number),
      });
    expect(stdout).toContain("\n1 passed, 0 failed, 0 skipped\n");
  },
);

it("says in one sentence that there is no GPU, and measures nothing", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bench/gpu/check.mjs"], {
    encoding: "utf8",
    env: { ...process.env, PATH: "" },
  });
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toBe("gpu:check: there is no NVIDIA GPU with a driver on this machine (nvidia-smi was not found).\n");
});

const tests = [".", "Release"]
  .map((folder) => path.resolve(`.cmake/${process.platform}-${process.arch}`, folder, "oss_tests"))
  .find(existsSync);

describe.skipIf(!emulated || !tests)("a rehearsal on the emulated GPU", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpu-check-rehearsal-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const cases = ["--cases", "cuda rms_norm: golden,cuda embed,cuda router: golden,cuda gather_rows"];
  const kernels = ["bench/gpu/check.mjs", "--emulated", "--short", "--only", "kernels", ...cases];
  const rowsIn = (out: string) => readResults(path.join(out, readdirSync(out)[0]!)).rows;

  it("a fault and a hang are failures of their own cases, and all later cases run", { timeout: 60_000 }, () => {
    const out = mkdtempSync(path.join(folder, "out-"));
    const { status } = spawnSync(process.execPath, [...kernels, "--case-seconds", "8", "--out", out], {
      encoding: "utf8",
      env: { ...process.env, EMULATED_GPU: "fault=rms_norm hang=embed" },
    });
    const rows = rowsIn(out).filter(({ bench }) => bench === "test");
    const result = (begin: string) => rows.find((row) => String(row.case).startsWith(begin));
    expect(result("cuda rms_norm")).toMatchObject({ result: "failed" });
    expect(result("cuda rms_norm")!.why).toContain("an illegal memory access was encountered");
    expect(result("cuda embed")).toMatchObject({ result: "hung" });
    expect(result("cuda router")).toMatchObject({ result: "passed" });
    expect(result("cuda gather_rows")).toMatchObject({ result: "passed" });
    expect(rowsIn(out).at(-1)).toMatchObject({ bench: "step", step: "kernels", passed: 2, failed: 2, skipped: 0 });
    expect(status).toBe(1);
  });

  it("keeps what it has when it is cut", { timeout: 60_000 }, async () => {
    const out = mkdtempSync(path.join(folder, "out-"));
    const child = spawn(process.execPath, [...kernels, "--case-seconds", "50", "--out", out], {
      stdio: "ignore",
      env: { ...process.env, EMULATED_GPU: "hang=embed" },
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const passed = () =>
      existsSync(out) && readdirSync(out).length > 0 ? rowsIn(out).filter((row) => row.result === "passed").length : 0;
    await vi.waitUntil(() => passed() === 3, { timeout: 50_000, interval: 100 });
    child.kill("SIGTERM");
    expect(await ended).toBe(1);
    expect(rowsIn(out).at(-1)).toEqual({ bench: "cut", step: "kernels", signal: "SIGTERM" });
    expect(passed()).toBe(3);
  });

  it("a step without time left is a row that says so", () => {
    const out = mkdtempSync(path.join(folder, "out-"));
    const args = ["bench/gpu/check.mjs", "--emulated", "--only", "kernels,memcheck", "--minutes", "0.1", "--out", out];
    expect(spawnSync(process.execPath, args).status).toBe(0);
    expect(rowsIn(out)).toEqual([
      { bench: "step", step: "kernels", passed: 0, failed: 0, skipped: 1, notRun: "out of time" },
      { bench: "step", step: "memcheck", passed: 0, failed: 0, skipped: 1, notRun: "out of time" },
    ]);
  });

  it("refuses a step that is not there", () => {
    const args = ["bench/gpu/check.mjs", "--emulated", "--only", "kernel"];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 1, stderr: "gpu:check: there is no step kernel; see --help\n" });
  });
});

// No test here needs Python packages: a substitute for Python supplies a golden model and the oracle's results.
describe.skipIf(!existsSync("build/Emulated/libgptoss_cuda.so"))("the oracle step, on the emulated GPU", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-gpu-check-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  function check(python: string): { status: number | null; rows: Row[] } {
    for (const name of ["python3", "python"])
      writeFileSync(path.join(folder, name), `#!/bin/sh\n${python}\n`, { mode: 0o755 });
    const out = mkdtempSync(path.join(folder, "out-"));
    const { status } = spawnSync(
      process.execPath,
      ["bench/gpu/check.mjs", "--emulated", "--only", "oracle", "--out", out],
      { encoding: "utf8", env: { ...process.env, PATH: `${folder}:${process.env.PATH}` } },
    );
    return { status, rows: readResults(path.join(out, readdirSync(out)[0]!)).rows };
  }
  const standIn = (golden: string, reference: string) => `case "$1" in
    -c) ;;
    test/oracle/make_checkpoint.py) cp -r test/golden/models/${golden} "$2" ;;
    test/oracle/second_oracle.py) mkdir "$4" && cp test/golden/cases/${reference}.safetensors "$4" ;;
    *) exit 1 ;;
  esac`;

  it("compares the engine with what was written: float32, float64, and both medians", () => {
    const { status, rows } = check(standIn("c", "c.window"));
    expect(rows).toEqual([expect.objectContaining({ bench: "step", passed: 4, failed: 0, skipped: 0 })]);
    expect(status).toBe(0);
  });

  it("fails when they are those of another model", () => {
    const { status, rows } = check(standIn("b", "a.short"));
    expect(rows.at(-1)).toMatchObject({ passed: 0, failed: 3, skipped: 0 });
    const texts = rows.map(({ text }) => text);
    expect(texts).toContainEqual(expect.stringMatching(/^FAIL cuda sm_90 fast a\.short, logits_f32: max_rel .*/));
    expect(status).toBe(1);
  });

  it("says what it lacks, and counts as skipped", () => {
    const { status, rows } = check("echo torch, transformers");
    expect(rows).toEqual([
      { bench: "log", step: "oracle", text: "NOT RUN: python3 has no torch, transformers" },
      expect.objectContaining({ bench: "step", passed: 0, failed: 0, skipped: 1 }),
    ]);
    expect(status).toBe(0);
  });
});
