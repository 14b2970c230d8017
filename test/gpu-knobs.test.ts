import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { isThorough } from "./support/thorough.js";

/** The knobs that `gpu:check --only knobs` turns (bench/gpu/knobs.mjs), and the turning, without a GPU. */

interface Change {
  file: string;
  from: string;
  to: string;
}
interface Variant {
  name: string;
  knob: string;
  value: string;
  changes: Change[];
  batches: number[];
  reorders: boolean;
}
type Row = Record<string, unknown>;
interface Built {
  program?: string;
  why?: string;
}
const load = (file: string) => import(path.resolve("bench/gpu", file));
const { knobs, variantsOf, changed } = (await load("knobs.mjs")) as {
  knobs: object[];
  variantsOf(table: object[]): Variant[];
  changed(changes: Change[], read: (file: string) => string): Map<string, string>;
};
const { buildVariants, sources } = (await load("variants.mjs")) as {
  sources: string[];
  buildVariants(variants: object[], how: object): Promise<Map<string, Built>>;
};
const { tryKnobs, withBase } = (await load("try-knobs.mjs")) as {
  withBase(variants: object[]): { name: string; value: string }[];
  tryKnobs(variants: object[], how: object): Promise<{ passed: number; skipped: number; failures: string[] }>;
};
const read = (file: string) => readFileSync(file, "utf8");
const variants = variantsOf(knobs);

describe("the table of knobs", () => {
  it.each(variants)("$name: what it changes stands in the sources exactly once", ({ changes }) => {
    const texts = changed(changes, read);
    for (const [file, text] of texts) expect(text).not.toBe(read(file));
  });

  it("names each value once, and batches that are measured", () => {
    expect(new Set(variants.map(({ name }) => name)).size).toBe(variants.length);
    for (const { batches } of variants) expect([1, 8, 16]).toEqual(expect.arrayContaining(batches));
  });

  it("refuses a change of what is not there, or there twice", () => {
    const of = (from: string) => () => changed([{ file: "a.h", from, to: "x" }], () => "int a = 1, b = 1;");
    expect(of("= 2")).toThrow("a.h has 0 times: = 2");
    expect(of("= 1")).toThrow("a.h has 2 times: = 1");
  });

  it("compiles everything that may begin early or plans such a launch", () => {
    const headers = /kernels\/cuda\/(matrix_stream|plan)\.cuh?"/;
    const found = spawnSync("ls", ["kernels/cuda"], { encoding: "utf8" })
      .stdout.split("\n")
      .filter((name) => name.endsWith(".cu"))
      .map((name) => `kernels/cuda/${name}`)
      .filter(
        (file) => headers.test(read(file)) || /Earlier<|visible_pages|copy_runs|plan_\w+_stream/.test(read(file)),
      );
    expect(found.sort()).toEqual(sources);
  });
});

// The host has planned with the headers as they are; kernels of a variant must find what it promised.
describe("the plans of every value on an H200", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-knobs-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const touched = variants.filter(({ changes }) => changes.some(({ file }) => /(plan|layout)\.h$/.test(file)));

  it.each(touched)("$name: every step that the host runs fused has a plan", ({ name, changes }) => {
    const own = path.join(folder, name);
    for (const [file, text] of changed(changes, read)) {
      mkdirSync(path.dirname(path.join(own, file)), { recursive: true });
      writeFileSync(path.join(own, file), text);
    }
    const source = `
      #include "kernels/cuda/plan.h"
      using namespace oss::cuda;
      constexpr Resources kH200{132, 227 << 10};
      static_assert(most_fused_tokens({2880, 2880, 128, 4}, kH200) == 16);
      static_assert(most_fused_tokens({2880, 2880, 32, 4}, kH200) == 16);
      constexpr bool fits(int row_tiles, int cols, int columns) {
        const MatrixStream plan = plan_matrix_stream(row_tiles, cols, columns, kH200);
        return plan.blocks > 0 && plan.stages >= kLeastStages && plan.stages <= 32 && plan.shared_bytes <= kH200.shared_bytes;
      }
      constexpr bool all_fit() {
        for (int tokens = 1; tokens <= 16; ++tokens)
          if (!fits(320, 2880, tokens) || !fits(180, 4096, tokens) || !fits(8, 2880, std::min(2 * tokens, 16))) return false;
        return true;
      }
      static_assert(all_fit());
      static_assert(kExpertBlocks * (expert_shared_bytes() + kExpertStaticBytes + kBlockReserve) <= (228 << 10));
    `;
    const flags = ["-std=c++20", "-fsyntax-only", `-I${own}`, "-I.", "-x", "c++", "-"];
    const { status, stderr } = spawnSync("g++", flags, { input: source, encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });
});

describe("trying the knobs", () => {
  const variant = (name: string, more = {}) => ({ name, knob: "k", value: name, batches: [1, 8], ...more });
  const line = (batch: number, time: number, bits = "b", tokens = "t") => ({
    batch,
    context: 100,
    microseconds: [time + 2, time, time + 1],
    bits,
    tokens,
  });
  async function go(
    list: object[],
    answers: Record<string, object>,
    { batches = [1], until = Number.MAX_SAFE_INTEGER } = {},
  ) {
    const rows: Row[] = [];
    const asked: string[] = [];
    const says = vi.spyOn(console, "log").mockImplementation(() => undefined);
    const built = new Map(["base", ...Object.keys(answers)].map((name) => [name, { program: name } as Built]));
    if (built.has("unbuilt")) built.set("unbuilt", { why: "error: no such thing" });
    const result = await tryKnobs(list, {
      rounds: [
        { model: "m", batches },
        { model: "n", batches },
      ],
      built,
      until,
      addRow: (row: Row) => rows.push(row),
      run: async (program: string, args: string[]) => {
        asked.push(`${program} ${args.join(" ")}`);
        return { ok: true, text: "", lines: batches.map((batch) => line(batch, 99)), ...answers[program] };
      },
    });
    const table = says.mock.calls.map(([text]) => String(text)).join("\n");
    says.mockRestore();
    return { ...result, rows, asked, table };
  }

  it("has the base first, in the middle and last", () => {
    const names = (count: number) =>
      withBase(Array.from({ length: count }, (_, i) => variant(`${i}`))).map(({ name, value }) =>
        name === "base" ? value : name,
      );
    expect(names(3)).toEqual(["first", "0", "1", "between", "2", "last"]);
    expect(names(1)).toEqual(["first", "0", "between", "last"]);
  });

  it("tells the median, the ends, and the ratio to the base", async () => {
    const { rows, passed, failures, table } = await go([variant("fast")], { fast: { lines: [line(1, 49)] } });
    expect(rows[1]).toEqual({
      bench: "knob",
      model: "m",
      batch: 1,
      knob: "k",
      value: "fast",
      context: 100,
      microseconds: 50,
      range: [49, 51],
      ratio: 0.5,
    });
    expect({ passed, failures }).toEqual({ passed: 8, failures: [] });
    expect(table).toContain("k: fast             50.0       49.0..51.0    0.500\n");
  });

  it("reports what fails or writes something else, and does not try it again", async () => {
    const { rows, asked, failures } = await go(
      [variant("crash"), variant("wrong"), variant("unbuilt"), variant("other", { reorders: true })],
      {
        crash: { ok: false, lines: [], text: "first\nillegal address\n" },
        wrong: { lines: [line(1, 1, "x", "y")] },
        unbuilt: {},
        other: { lines: [line(1, 99, "x", "t")] },
      },
    );
    expect(failures).toEqual([
      "k: unbuilt: error: no such thing",
      "k: crash: illegal address",
      "k: wrong: other tokens at batch 1",
    ]);
    expect(asked.filter((text) => /crash|wrong|unbuilt/.test(text))).toEqual([
      "crash m --batches 1",
      "wrong m --batches 1",
    ]);
    const of = (name: string) => rows.filter(({ value, model }) => value === name && model === "m");
    expect(of("crash")).toEqual([expect.objectContaining({ failed: "failed" })]);
    expect(of("wrong")).toEqual([
      { bench: "knob", model: "m", batch: 1, knob: "k", value: "wrong", context: 100, differs: true },
    ]);
    expect(of("other")).toEqual([expect.objectContaining({ reorders: true, sameTokens: true, ratio: 1 })]);
  });

  it("asks only for the batches that a value is for, and skips what there is no time for", async () => {
    const one = await go([variant("eight", { batches: [8] })], { eight: { lines: [line(8, 9)] } }, { batches: [1, 8] });
    expect(one.asked.slice(0, 2)).toEqual(["base m --batches 1,8", "eight m --batches 8"]);
    const late = await go([variant("a")], { a: {} }, { until: 0 });
    expect(late).toMatchObject({ asked: [], passed: 0, skipped: 8, failures: [] });
    expect(late.rows[0]).toMatchObject({ skipped: "out of time" });
  });
});

const build = `.cmake/${process.platform}-${process.arch}`;
const program = [".", "Release"].map((folder) => path.resolve(build, folder, "oss_gpu_decode")).find(existsSync);

const emulated: typeof describe = isThorough ? describe : ((() => undefined) as never);
if (isThorough && !program) throw new Error("oss_gpu_decode is missing: npm run build:tests makes it");

emulated("on the emulated GPU", () => {
  it("builds modules, runs a model on each, and compares", { timeout: 180_000 }, () => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ["bench/gpu/check.mjs", "--emulated", "--only", "knobs"],
      { encoding: "utf8" },
    );
    expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/\nbase: first +\d+\.\d +[\d.]+ +\d\.\d+\n/);
    expect(stdout).toMatch(/\nexperts: 3 stages +\d+\.\d +[\d.]+ +\d+\.\d+\n/);
    expect(stdout).toMatch(/\npages of a split: 2 .* another order of sums, (the same|other) tokens\n/);
    expect(stdout).toContain("\n5 passed, 0 failed, 0 skipped\n");
  });

  it("tells which variant does not compile, and builds the others", { timeout: 180_000 }, async () => {
    const folder = path.resolve(build, "Emulated/knobs-of-a-test");
    const of = (to: string) => [{ file: "kernels/cuda/plan.h", from: "kMostStages = 6;", to }];
    const built = await buildVariants(
      [
        { name: "bad", changes: of("kMostStages = nothing;") },
        { name: "good", changes: of("kMostStages = 4;") },
      ],
      {
        root: path.resolve("."),
        build: path.resolve(build),
        target: "gptoss_cuda_emulated",
        program,
        folder,
        until: Date.now() + 1e6,
      },
    );
    const run = spawnSync(built.get("good")!.program!, [
      "synthetic:tiny",
      "--batches",
      "1",
      "--prompt",
      "3",
      "--samples",
      "1",
      "--steps",
      "1",
    ]);
    rmSync(folder, { recursive: true });
    expect(built.get("bad")!.why).toMatch(/nothing/);
    expect(run.status).toBe(0);
  });
});

it("names its steps without a GPU, and those that must be asked for", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bench/gpu/check.mjs", "--help"], {
    encoding: "utf8",
    env: { ...process.env, PATH: "" },
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/steps, in this order: +build, roofs, .*, racecheck\n/);
  expect(stdout).toMatch(/only when named: +load:120b, counters, knobs, knobs:batches\n/);
});
