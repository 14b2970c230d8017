import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { isThorough } from "./support/thorough.js";

/** The patches of bench/gpu, and how gpu:check uses them, without a GPU. */

interface Variant {
  name: string;
  knob: string;
  value: string;
  patch: string;
  batches: number[];
  reorders: boolean;
}
type Row = Record<string, unknown>;
interface Built {
  program?: string;
  why?: string;
}
const load = (file: string) => import(path.resolve("bench/gpu", file));
const { knobs, variantsOf, routeAgain } = (await load("knobs.mjs")) as {
  knobs: object[];
  variantsOf(table: object[]): Variant[];
  routeAgain: { name: string; patch: string };
};
const { patched } = (await load("patches.mjs")) as {
  patched(patch: string, read: (file: string) => string): Map<string, string>;
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
const textsOf = (patch: string) => patched(read(patch), read);

describe("the table of knobs", () => {
  it.each([...variants, routeAgain])("$name: its patch fits the sources", ({ patch }) => {
    for (const [file, text] of textsOf(patch)) expect(text).not.toBe(read(file));
  });

  it("has every patch that there is", () => {
    const names = readdirSync("bench/gpu/knobs").map((name) => `bench/gpu/knobs/${name}`);
    expect(names.sort()).toEqual(variants.map(({ patch }) => patch).sort());
  });

  it("names each value once, and batches that are measured", () => {
    expect(new Set(variants.map(({ name }) => name)).size).toBe(variants.length);
    for (const { batches } of variants) expect([1, 8, 16]).toEqual(expect.arrayContaining(batches));
  });

  it("changes whole lines, and refuses a patch of what is not there, or there twice", () => {
    const text = "int a;\nint b;\n  int b;\nint c;\nint c;\n";
    const of = (...lines: string[]) => ["--- a/a.h", "+++ b/a.h", "@@ -9 +9 @@", ...lines, ""].join("\n");
    const apply = (patch: string) => patched(patch, () => text).get("a.h");
    expect(apply(of("-int b;", "+int x;"))).toBe("int a;\nint x;\n  int b;\nint c;\nint c;\n");
    expect(apply(of("-int a;", " int b;"))).toBe("int b;\n  int b;\nint c;\nint c;\n");
    expect(apply(of("-int b;", "+int x;", "@@ -1 +1 @@", "-int x;", "+int y;"))).toContain("\nint y;\n");
    expect(() => apply(of("-int d;", "+int x;"))).toThrow("a.h has 0 times:\nint d;");
    expect(() => apply(of("-int c;", "+int x;"))).toThrow("a.h has 2 times:\nint c;");
    expect(() => apply(of("?"))).toThrow("a patch has the line: ?");
    expect(() => apply("")).toThrow("the patch changes no file");
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

// The host plans with the unpatched headers, so a variant's kernels must fit that plan.
describe("the plans of every value on an H200", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-knobs-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const touched = variants.filter(({ patch }) =>
    [...textsOf(patch).keys()].some((file) => /(plan|layout)\.h$/.test(file)),
  );

  it.each(touched)("$name: every step that the host runs fused has a plan", ({ name, patch }) => {
    const own = path.join(folder, name);
    for (const [file, text] of textsOf(patch)) {
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

  it("says which variant does not compile, and builds the others; one that routes otherwise traps", {
    timeout: 300_000,
  }, async () => {
    const folder = path.resolve(build, "Emulated/knobs-of-a-test");
    const stages = (to: string) =>
      read("bench/gpu/knobs/stages-of-a-matrix-stream-4.patch").replace(/(kMostStages =) 4;/, `$1 ${to};`);
    const patches: Record<string, string> = {
      bad: stages("nothing"),
      good: stages("5"),
      same: read(routeAgain.patch),
      // The routing before the wait leaves out the last expert: only this check can find that fault.
      wrong: `${read(routeAgain.patch)}@@ -1 +1 @@
-  route(routing, experts, top_k, tokens, logits);
+  route(routing, experts - 1, top_k, tokens, logits);
`,
    };
    mkdirSync(folder, { recursive: true });
    const variants = Object.entries(patches).map(([name, text]) => {
      writeFileSync(path.join(folder, `${name}.patch`), text);
      return { name, patch: path.relative(".", path.join(folder, `${name}.patch`)) };
    });
    const built = await buildVariants(variants, {
      ...{ root: path.resolve("."), build: path.resolve(build), target: "gptoss_cuda_emulated", program, folder },
      ...{ library: path.resolve(build, "Emulated/libgptoss_cuda.so"), until: Date.now() + 1e6 },
    });
    const args = ["synthetic:tiny", "--batches", "1", "--prompt", "20", "--samples", "1", "--steps", "4"];
    const says = (name: string) => {
      const { status, stdout, stderr } = spawnSync(built.get(name)!.program!, args, { encoding: "utf8" });
      return { status, stderr, bits: /"bits":"\w+"/.exec(stdout)?.[0] };
    };
    const [base, good, same, wrong] = ["base", "good", "same", "wrong"].map(says);
    rmSync(folder, { recursive: true });
    expect(built.get("bad")!.why).toMatch(/nothing/);
    expect(base).toMatchObject({ status: 0, bits: expect.any(String) });
    expect([good, same]).toEqual([base, base]);
    expect(wrong!.status).toBe(1);
    expect(wrong!.stderr).toContain("__trap");
  });
});

it("names its steps without a GPU, and those that must be asked for", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bench/gpu/check.mjs", "--help"], {
    encoding: "utf8",
    env: { ...process.env, PATH: "" },
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/steps, in this order: +build, roofs, .*, racecheck\n/);
  expect(stdout).toMatch(/only when named: +decode:120b, decode:20b, load:120b, counters, knobs, knobs:batches\n/);
  expect(stdout).toMatch(/with --short: +build, roofs, kernels, decode:120b, .*\n/);
});
