import path from "node:path";
import { describe, expect, it } from "vitest";
import { bf16, kernels } from "../../../lib/kernels/index.js";
import { describeOnEachIsa } from "../../support/instruction-sets.js";
import { SafetensorsFile } from "../../support/safetensors.js";
import {
  exact,
  expectClose,
  mxfp4Values,
  problems,
  randomFloats,
  randomMxfp4,
  rounded,
  seam,
  swiglu,
} from "./problems.js";

/** Every operation on the CPU, under each instruction set of this machine. */

const golden = (name: string) => new SafetensorsFile(path.resolve(`test/golden/kernels/${name}.safetensors`));

await describeOnEachIsa("the kernels of TypeScript", (isa) => {
  const isFast = ["avx512bf16", "amx", "neonbf16"].includes(isa);
  const precision = isFast ? { ...rounded, operand: 2e-4 } : exact;
  const open = () => kernels("cpu", { isa, threads: 2 });

  it("is what was asked for", async () => {
    await using cpu = open();
    const alone = ["swiglu", "mxfp4Dequantize", ...(isFast ? [] : ["mxfp4Gemm"])];
    expect(await cpu.info()).toMatchObject({
      backend: "cpu",
      isa,
      threads: 2,
      numerics: isFast ? "fast" : "exact",
      activations: "f32",
      operations: [...seam, ...alone],
    });
  });

  it.each(problems)("%s", async (name, run) => {
    await using cpu = open();
    // Queries are rounded before scores on tiles alone; products with weights always.
    await run(cpu, name === "rotations" && isFast ? rounded : precision);
  });

  it("swiglu", async () => {
    await using cpu = open();
    const file = golden("swiglu");
    for (const [name, rows, intermediate] of [
      ["grid", 20, 20],
      ["random", 16, 32],
    ] as const) {
      const { output } = await cpu.swiglu({ x: file.f32(name), rows, intermediate });
      expectClose(output, file.f64(`${name}_expect_f64`), 1e-6);
    }
    const { output } = await cpu.swiglu({ x: new Float32Array([2, -3]), rows: 1, intermediate: 1, alpha: 1, limit: 1 });
    expectClose(output, [swiglu(2, -3, 1, 1)], 1e-6);
  });

  it("mxfp4Dequantize", async () => {
    await using cpu = open();
    const file = golden("mxfp4");
    const { output } = await cpu.mxfp4Dequantize({
      blocks: Uint8Array.from(file.bytes("blocks")),
      scales: Uint8Array.from(file.bytes("scales")),
      rows: 22,
      cols: 512,
    });
    const expected = file.f32("expect_f32");
    // A scale of 255 is NaN. The tables of kernels have no -0.
    const isSame = (a: number, b: number) => a === b || (Number.isNaN(a) && !Number.isFinite(b));
    expect(output.every((value, i) => isSame(value, expected[i]!))).toBe(true);
  });

  it("mxfp4Gemm, which the units of fast have only within the experts", async () => {
    await using fast = open();
    if (isFast) await expect(fast.mxfp4Gemm({} as never)).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await using cpu = kernels("cpu", { isa, threads: 2, numerics: "exact" });
    const [rows, cols, out] = [5, 64, 96];
    const [x, bias, { blocks, scales }] = [
      randomFloats(rows * cols, 1),
      randomFloats(out, 2),
      randomMxfp4(out * cols, 3),
    ];
    const w = mxfp4Values(blocks, scales);
    const { output } = await cpu.mxfp4Gemm({ x, blocks, scales, bias, rows, in: cols, out });
    const expected = Float64Array.from(output, (_, i) => {
      const [r, o] = [Math.floor(i / out), i % out];
      let sum = bias[o]!;
      for (let c = 0; c < cols; c++) sum += x[r * cols + c]! * w[o * cols + c]!;
      return sum;
    });
    expectClose(output, expected, exact.product);
  });
});

describe("dense weights in 8 bits", () => {
  it("are near, and not the same", async () => {
    await using wide = kernels("cpu");
    await using narrow = kernels("cpu", { denseWeights: "q8" });
    const given = { rows: 2, in: 64, out: 32, x: randomFloats(128, 1), weight: bf16(randomFloats(64 * 32, 2)) };
    const [a, b] = [(await wide.linear(given)).output, (await narrow.linear(given)).output];
    expectClose(b, a, 0.02);
    expect(b).not.toEqual(a);
  });
});
