import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";

/** What `npm run metal:check` finds, refuses and prints, and all its steps on the emulated GPU. No Mac is needed. */

type Row = Record<string, unknown>;
const { findMac } = (await import(path.resolve("bench/metal/machine.mjs"))) as {
  findMac(platform?: string, arch?: string, ask?: (...command: string[]) => string | undefined): Row;
};
const { begin, blockOf, end } = (await import(path.resolve("bench/metal/block.mjs"))) as {
  begin: string;
  end: string;
  blockOf(head: Row, rows: Row[], file: string): string;
};
const { readResults } = (await import(path.resolve("bench/gpu/results.mjs"))) as {
  readResults(file: string): { head: Row; rows: Row[] };
};
const { roofShare } = (await import(path.resolve("bench/gpu/report.mjs"))) as {
  roofShare(work: object, roofs: object): number;
};

describe("the machine", () => {
  const mac = (answers: Record<string, string>) => (program: string, option: string, name?: string) =>
    answers[name ?? `${program} ${option}`];
  const m4 = mac({ "sw_vers -productVersion": "15.1.1", "machdep.cpu.brand_string": "Apple M4 Pro" });

  it("is a Mac with Apple silicon and macOS 14 or later", () => {
    expect(findMac("darwin", "arm64", m4)).toEqual({ gpu: "Apple M4 Pro", driver: "macOS 15.1.1" });
  });

  it.each([
    ["linux", "x64", {}, /^there is no Metal GPU on this machine: it runs linux, and Metal is a part of macOS\.$/],
    ["darwin", "x64", {}, /this is an Intel processor\.$/],
    ["darwin", "x64", { "sysctl.proc_translated": "1" }, /^this Node is for Intel processors; take the one for Apple/],
    ["darwin", "arm64", { "sw_vers -productVersion": "13.6" }, /macOS 14 or later is needed, and this is 13\.6\.$/],
  ])("or the reason is one sentence: %s %s %j", (platform, arch, answers, why) => {
    expect(findMac(platform, arch, mac(answers))).toEqual({ why: expect.stringMatching(why) });
  });
});

it("the tests of kernels need no emulator, so that a Mac can build them: only support.cpp knows it", () => {
  const folders = ["test/kernels/metal", "test/kernels/gpu"];
  const files = folders.flatMap((folder) => readdirSync(folder).map((file) => path.join(folder, file)));
  const including = (text: string) => files.filter((file) => readFileSync(file, "utf8").includes(text));
  expect(including("test/emu/")).toEqual(["test/kernels/metal/support.cpp"]);
  expect(including("kernels/cuda/")).toEqual([]);
});

it("the share of the roof counts bytes alone where arithmetic was not measured", () => {
  expect(roofShare({ bytes: 4e9, flops: 9e15, seconds: 0.02 }, { readBytesPerSecond: 4e11 })).toBe(0.5);
});

describe("the block", () => {
  const head = { gpu: "Apple M4 Pro", driver: "macOS 15.1", commit: "abc1234", date: "2026-12-01T01:02:03.000Z" };
  const rows = [
    { bench: "step", step: "build", passed: 3, failed: 0, skipped: 0, seconds: 61.5 },
    {
      ...{ bench: "facts", chip: "Apple M4 Pro", family: 9, macos: "15.1", node: "v22.1.0", addon: "built" },
      ...{ workingSetBytes: 36e9, memoryBytes: 48e9, bufferBytes: 28e9, compiler: "Apple metal version 32023" },
    },
    { bench: "test", step: "kernels", case: "metal embed: rows", result: "passed", seconds: 0.1 },
    { bench: "test", step: "kernels", case: "metal router: ties", result: "failed", seconds: 0.1, why: "worst at 3" },
    { bench: "step", step: "kernels", passed: 1, failed: 1, skipped: 0, seconds: 0.2 },
    { bench: "oracle", case: "c.short", reference: "logits_f64", maxRel: 7.37e-3, rmsRel: 6.4e-3 },
    { bench: "log", step: "demo", text: "FAIL metal demo public-kv-0" },
    { bench: "step", step: "demo", passed: 0, failed: 0, skipped: 1, notRun: "out of time" },
    { bench: "roofs", readBytesPerSecond: 2.4e11, mmaFlopsPerSecond: 1.41e13, fmaFlopsPerSecond: 7.5e12 },
    {
      ...{ bench: "kernels", name: "linear", parameters: { backend: "metal", matrix: "attention output", tokens: 8 } },
      values: { time: { median: 123.456 }, roofShare: { median: 0.81 } },
    },
    { bench: "misfit", why: "synthetic:20b does not fit: with 1 conversation" },
    {
      ...{ bench: "prefill", model: "synthetic:small", tokens: 512, tokensPerSecond: 1024, flops: 1e12 },
      ...{ bytes: 4e8, microseconds: 5e5 },
    },
    {
      ...{ bench: "decode", model: "synthetic:small", batch: 4, prompt: 512, tokensPerSecond: 200, range: [190, 210] },
      ...{ bytes: 3.6e9, microseconds: 2e4, roofShare: 0.75 },
    },
    { bench: "decode", model: "synthetic:small", batch: 8, prompt: 512, skipped: "out of time" },
  ];

  it("has facts, counts, what was measured, and what failed", () => {
    expect(blockOf(head, rows, "/somewhere/apple-m4-pro.jsonl")).toBe(`${begin}
Apple M4 Pro, macOS 15.1, commit abc1234, 2026-12-01T01:02:03.000Z
GPU Apple M4 Pro, family 9, macOS 15.1: memory 48.0 GB, working set 36.0 GB, buffers of 28.0 GB at most
node v22.1.0, addon built, Metal compiler Apple metal version 32023
file: apple-m4-pro.jsonl

| step | passed | failed | skipped | seconds |
| --- | --- | --- | --- | --- |
| build | 3 | 0 | 0 | 61.5 |
| kernels | 1 | 1 | 0 | 0.2 |
| demo | 0 | 0 | 1 | out of time |

golden models, max_rel (rms_rel): c.short 7.37e-3 (6.4e-3)
roofs: 240 GB/s, 14.1 TFLOP/s of bf16, 7.50 TFLOP/s of float

| operation | us | of its roof |
| --- | --- | --- |
| linear, attention output, 8 tokens | 123.5 | 81 % |

synthetic:20b does not fit: with 1 conversation

| model | what | tokens/s, median [least..greatest] | ms | of a step or prompt | of the byte roof, or reached |
| --- | --- | --- | --- | --- | --- |
| synthetic:small | prefill of 512 tokens | 1024 | 500.0 | 1.00 TFLOP | 2.00 TFLOP/s |
| synthetic:small | decode, 4 after 512 tokens | 200 [190..210] | 20.00 | 3.60 GB | 75 % |
| synthetic:small | decode, 8 after 512 tokens | out of time |  |  |  |

messages:
failed: metal router: ties
  worst at 3
demo: FAIL metal demo public-kv-0

4 passed, 1 failed, 1 skipped
${end}`);
  });

  it("says what was not measured, and leaves out messages without end", () => {
    const many = Array.from({ length: 150 }, (_, i) => ({ bench: "log", step: "build", text: `line ${i}` }));
    const text = blockOf(head, many, "a.jsonl");
    expect(text).toContain("roofs: not measured\ndecode and prefill: not measured\n");
    expect(text).toContain("build: line 99\nand 50 more lines in the file\n");
    expect(text).not.toContain("line 100");
  });
});

const check = (args: string[], machine?: string) => {
  const out = mkdtempSync(path.join(folder, "out-"));
  const { EMULATED_METAL: _, ...environment } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bench/metal/check.mjs", "--out", out, ...args], {
    encoding: "utf8",
    env: { ...environment, ...(machine !== undefined && { EMULATED_METAL: machine }) },
  });
  const [file] = readdirSync(out);
  const rows = file === undefined ? [] : readResults(path.join(out, file)).rows;
  return { status, stdout, stderr, rows };
};
const folder = mkdtempSync(path.join(tmpdir(), "metal-check-"));
afterAll(() => rmSync(folder, { recursive: true }));

it.skipIf(process.platform === "darwin")(
  "refuses a machine without Metal in one sentence, and measures nothing",
  () => {
    const { status, stdout, stderr, rows } = check([]);
    expect({ status, stdout, rows }).toEqual({ status: 1, stdout: "", rows: [] });
    expect(stderr).toMatch(/^metal:check: there is no Metal GPU on this machine: it runs \w+, .*\.\n$/);
  },
);

it("refuses a step that is not there", () => {
  const { status, stderr } = check(["--emulated", "--only", "kernel"]);
  expect({ status, stderr }).toEqual({ status: 1, stderr: "metal:check: there is no step kernel; see --help\n" });
});

const built = [".", "Release"].some((at) =>
  ["oss_tests", "oss_metal_facts"].every((name) =>
    existsSync(path.resolve(`.cmake/${process.platform}-${process.arch}`, at, name)),
  ),
);

describe.skipIf(!built || !existsSync("build/Emulated/gpt_oss.node"))("a rehearsal on the emulated GPU", () => {
  it("runs every step, ends with the block, and keeps no measurement", { timeout: 90_000 }, () => {
    const { status, stdout, rows } = check(["--emulated"]);
    expect(status, stdout).toBe(0);
    const steps = rows.filter(({ bench }) => bench === "step");
    expect(steps.map(({ step }) => step)).toEqual([
      ...["build", "facts", "build:tests", "kernels", "models", "demo", "roofs", "bench:20b", "engine"],
    ]);
    const counts = Object.fromEntries(steps.map(({ step, passed, failed }) => [step as string, [passed, failed]]));
    expect(counts).toEqual({
      ...{ build: [0, 0], facts: [1, 0], "build:tests": [0, 0], kernels: [2, 0], models: [3, 0] },
      ...{ demo: [1, 0], roofs: [1, 0], "bench:20b": [1, 0], engine: [1, 0] },
    });
    expect(rows).toContainEqual(expect.objectContaining({ bench: "facts", family: 9, addon: "built" }));
    expect(rows).toContainEqual({
      bench: "misfit",
      why: expect.stringMatching(
        /^synthetic:20b does not fit: with 1 conversation of 4096 tokens it takes .* are free$/,
      ),
    });
    expect([...new Set(rows.map(({ bench }) => bench))].sort()).toEqual(["facts", "misfit", "step", "test"]);
    // What the steps printed: the rows that a Mac's run keeps.
    const printed = stdout.split("\n").filter((line) => line.startsWith("{"));
    const lines = printed.map((line) => JSON.parse(line) as Row);
    expect(lines.filter(({ readBytesPerSecond }) => Number(readBytesPerSecond) > 0)).toHaveLength(1);
    expect(lines).toContainEqual(expect.objectContaining({ bench: "kernels", name: "experts" }));
    expect(lines).toContainEqual(expect.objectContaining({ bench: "prefill", tokens: 20 }));
    expect(lines).toContainEqual(
      expect.objectContaining({ bench: "decode", batch: 1, tokensPerSecond: expect.any(Number) }),
    );
    expect(stdout.slice(stdout.indexOf(begin))).toMatch(
      new RegExp(`\\n10 passed, 0 failed, 0 skipped\\n${end}\\n\\nemulated: nothing measured\\n$`),
    );
  });

  it("ends after the facts where the GPU cannot be used, with the reason in the block", () => {
    const { status, stdout, rows } = check(["--emulated"], "present=0");
    expect(status).toBe(1);
    expect(rows.flatMap(({ bench, step }) => (bench === "step" ? [step] : []))).toEqual(["build", "facts"]);
    expect(stdout).toContain("messages:\nfacts: FAIL there is no Metal GPU: no Metal GPU is emulated\n");
  });

  it("fails with the GPU's words when a kernel fails", () => {
    const { status, stdout } = check(["--emulated", "--only", "models,roofs"], "fault=r");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^roofs: FAIL .*a fault was planted$/m);
    expect(stdout).toMatch(/^roofs: the GPU failed: read_memory: a fault was planted$/m);
    expect(stdout).toMatch(/^models: FAIL --import tsx test\/oracle\/compare\.ts test\/golden\/models\/c /m);
    expect(stdout).toMatch(/^models: .*the GPU failed: rms_norm.*: a fault was planted/m);
    expect(stdout).toContain(`\n0 passed, 2 failed, 0 skipped\n${end}\n`);
  });
});
