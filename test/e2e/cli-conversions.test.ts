import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { InspectedModel } from "../../lib/index.js";
import { listen, run, start } from "../support/cli.js";
import { ggufBytes, ggufOf } from "../support/gguf.js";
import { golden, merged, plainConfig } from "../support/other-layouts.js";
import { writeModel } from "../support/write-safetensors.js";

/** What the command line says of weights that loading converts. */

let root: string;
let rounded: string;
let exact: string;
let q8: string;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), "gpt-oss-conversions-"));
  [rounded, exact, q8] = ["rounded", "exact", "q8.gguf"].map((name) => path.join(root, name)) as [
    string,
    string,
    string,
  ];
  const moved = merged((values) => values.map((value, i) => value * (1 + 0.1 * Math.sin(i))));
  writeModel(rounded, plainConfig, moved);
  writeModel(exact, plainConfig, merged());
  writeFileSync(q8, ggufBytes(ggufOf(golden, { dense: "q8_0" })));
});
afterAll(() => rmSync(root, { recursive: true }));

const answer = ["--tokens", "1,2,3", "--max-tokens", "1", "--json", "--packed-weights", "memory", "--backend", "cpu"];
const factOf = (text: string, name: string) => new RegExp(`^${name} +(.*)$`, "m").exec(text)?.[1];

describe("weights that loading rounds", () => {
  it("are told once on stderr, in the words of inspect", async () => {
    const [generated, inspected] = await Promise.all([
      run(["generate", rounded, ...answer]),
      run(["inspect", rounded]),
    ]);
    const advice = "; a CPU keeps them with --expert-weights bf16";
    const told = factOf(inspected.stdout, "to MXFP4")!;
    expect(told.endsWith(advice)).toBe(true);
    const error = told.slice(0, -advice.length);
    expect(error).toMatch(/^\d+ of 368640 values, relative RMS 0\.0\d+, largest error \S+ in \S+_proj$/);
    expect(generated).toMatchObject({ code: 0, stderr: `Weights were rounded: to MXFP4 ${error}\n` });
    const chat = await run(["chat", rounded, "--max-tokens", "1", ...answer.slice(-4)], "/quit\n");
    expect(chat).toMatchObject({ code: 0, stderr: generated.stderr });
  });

  it("are no note where every value is the same afterwards", async () => {
    const { code, stderr } = await run(["generate", exact, ...answer]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(factOf((await run(["inspect", exact])).stdout, "to MXFP4")).toBe("368640 values, all exact");
  });

  it("stay as they are with --expert-weights bf16, and the server's log names it", async () => {
    const { code, stderr } = await run(["generate", rounded, ...answer, "--expert-weights", "bf16"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const child = start(["serve", rounded, "--port", "0", "--backend", "cpu", "--expert-weights", "bf16"]);
    const log = listen(child.stderr);
    await log.until("the model is ready");
    child.kill("SIGTERM");
    expect(log.text).toContain('"expertWeights":"bf16"');
    expect(log.text).not.toContain("Weights were rounded");
    const refused = await run(["generate", q8, ...answer, "--expert-weights", "bf16"]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('found MXFP4; use "mxfp4"') });
    const planned = await run(["plan", rounded, "--memory", "4GB", "--backend", "cpu", "--expert-weights", "bf16"]);
    expect(planned.stdout).toMatch(/^ {2}copies +\S+ [kM]B {2}experts in bf16, norms and biases$/m);
  });

  it("are a line of the server's log, with the numbers as fields", async () => {
    const child = start(["serve", rounded, "--port", "0", ...answer.slice(-4)]);
    const stderr = listen(child.stderr);
    await stderr.until("Weights were rounded");
    child.kill("SIGTERM");
    const lines = stderr.text.split("\n").slice(0, -1);
    const logged = lines.map((line) => JSON.parse(line) as { msg: string });
    expect(logged.find(({ msg }) => msg.startsWith("Weights were rounded: to MXFP4"))).toMatchObject({
      level: 30,
      conversion: { experts: { values: 368640, largestIn: expect.stringMatching(/_proj$/) } },
      mergedAdapters: [],
    });
  });
});

describe("inspect of converted formats", () => {
  const inspect = async (model: string) =>
    [
      (await run(["inspect", model])).stdout,
      JSON.parse((await run(["inspect", model, "--json"])).stdout) as InspectedModel,
    ] as const;

  it("has the sizes of the file, and what they become on a line of its own", async () => {
    const [text, { stored, tensors, fileBytes }] = await inspect(q8);
    const q8Bytes = stored.filter(({ dtype }) => dtype === "Q8_0").reduce((sum, { bytes }) => sum + bytes, 0);
    const all = stored.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(all).toBeLessThanOrEqual(fileBytes);
    expect(all).toBeGreaterThan(0.9 * fileBytes);
    const shapes = stored.filter(({ dtype }) => dtype === "Q8_0").map(({ shape }) => shape[0]! * shape[1]!);
    const elements = shapes.reduce((sum, count) => sum + count, 0);
    expect(q8Bytes).toBe((elements / 32) * 34);
    expect(factOf(text, "formats")).toContain(`Q8_0 ${(q8Bytes / 1000).toPrecision(3)} kB in ${shapes.length} tensors`);
    expect(factOf(text, "converted")).toMatch(
      /^BF16 \d+ kB in 17 tensors, MXFP4 \(U8 blocks and scales\) \d+ kB in 12 tensors, F32 /,
    );
    expect(factOf(text, "to bf16")).toMatch(/; a CPU keeps matrices in Q8_0 as they are$/);
    expect(text).toMatch(/^output\.weight +Q8_0 +\[301, 64\] +20\.5 kB$/m);
    expect(tensors.find(({ name }) => name === "lm_head.weight")).toMatchObject({ dtype: "BF16", bytes: 301 * 64 * 2 });
  });

  it("shows bf16 experts with their bytes in the file", async () => {
    const [text] = await inspect(exact);
    expect(text).toMatch(/^model\.layers\.0\.mlp\.experts\.down_proj +BF16 +\[5, 128, 64\] +81\.9 kB$/m);
    expect(factOf(text, "formats")).toMatch(/^BF16 1\.\d+ MB in \d+ tensors/);
    expect(factOf(text, "formats")).not.toContain("MXFP4");
    expect(factOf(text, "converted")).toContain("MXFP4 (U8 blocks and scales) ");
  });

  it("has one list where nothing is converted", async () => {
    const [text, { stored }] = await inspect(path.resolve("test/golden/models/c"));
    expect(stored).toEqual([]);
    expect(factOf(text, "converted")).toBeUndefined();
    expect(text).toMatch(/^model\.layers\.0\.mlp\.experts\.down_proj_blocks +U8 /m);
  });
});
