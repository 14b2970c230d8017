import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";

/**
 * The CUDA kernels compiled by nvcc and executed on the emulated GPU. Kernels with separate code for each architecture
 * run on both, the others on sm_90a. `npm run ptx` runs all cases on both, which takes half an hour.
 */
const absent = readFileSync(`.cmake/${process.platform}-${process.arch}/cuda-absent.txt`, "utf8");
const cases = {
  "80": ["few_experts: bit", "norm_linear", "norm_qkv", "linear", "attention: page"],
  "90a": [
    ...[
      "attention",
      "embed",
      "experts",
      "few_experts: bit",
      "gather_rows",
      "linear",
      "low_rank",
      "norm_linear",
      "norm_qkv",
    ],
    ...["pack_matrix", "qkv", "rms_norm", "router", "sample: ties", "sample: a step", "synthesize"],
    "engine: golden models with",
  ],
};

const withCuda: typeof describe = absent ? ((() => undefined) as never) : describe;
if (absent) console.warn(`NOT RUN: nothing was compiled to PTX: ${absent}`);

withCuda.each(absent ? [] : Object.entries(cases))("PTX of sm_%s", (architecture, names) => {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["test/commands/ptx.mjs", "--architectures", architecture, ...names.map((name) => `cuda ${name}`)],
    { encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  const lines = stdout.split("\n");
  for (const [i, line] of lines.entries()) {
    const [, result, name] = /^(ok|FAIL) \S+ (.*)$/.exec(line) ?? [];
    if (!name) continue;
    it(name, () => {
      const reasons = lines.slice(i + 1).findIndex((next) => !next.startsWith("  "));
      if (result === "FAIL") expect.fail(lines.slice(i + 1, i + 1 + reasons).join("\n"));
    });
  }
  it("runs to its end", () => {
    expect({ last: lines.at(-2), stderr }).toEqual({
      last: expect.stringMatching(/^[1-9]\d* passed, \d+ failed$/),
      stderr: "",
    });
  });
});

withCuda("PTX that is wrong", () => {
  const executable = [".", "Release"]
    .map((folder) => path.join(`.cmake/${process.platform}-${process.arch}`, folder, "oss_tests"))
    .find(existsSync);
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-ptx-"));
  const file = path.join(folder, "rms_norm.ptx");
  afterAll(() => rmSync(folder, { recursive: true }));
  const runCase = () => {
    const env = { ...process.env, EMULATED_GPU: `ptx=${folder}` };
    return spawnSync(executable!, ["cuda rms_norm: golden"], { encoding: "utf8", env });
  };

  it("fails its test, where it runs at all: one sum that is a difference, a kernel that is missing", () => {
    cpSync(".cmake/ptx/90a", folder, { recursive: true });
    expect(runCase()).toMatchObject({ status: 0, stderr: "" });
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace("add.f32", "sub.f32"));
    expect(runCase()).toMatchObject({ status: 1, stdout: expect.stringContaining("row 0 column 0: expected") });
    rmSync(file);
    expect(runCase()).toMatchObject({ status: 1, stdout: expect.stringContaining("no PTX of _ZN3oss4cuda") });
  });
});
