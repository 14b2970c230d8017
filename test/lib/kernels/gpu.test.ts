import "../../support/emulated-addon.cjs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Kernels, kernels, listBackends } from "../../../lib/kernels/index.js";
import { describeEmulated } from "../../support/emulated-gpu.js";
import { problems, rounded, seam } from "./problems.js";

/** Every operation on the emulated GPUs. */

process.env.EMULATED_METAL = "seed=1";

for (const backend of ["cuda", "metal"])
  describeEmulated(backend, () => {
    let gpu: Kernels;
    beforeAll(() => {
      gpu = kernels(backend);
    });
    afterAll(() => gpu.close());

    it("has the operations of the seam", async () => {
      expect(listBackends().find(({ name }) => name === backend)).toMatchObject({ available: true });
      expect(await gpu.info()).toMatchObject({ backend, numerics: "fast", activations: "bf16", operations: seam });
      const missing = gpu.swiglu({ x: new Float32Array(2), rows: 1, intermediate: 1 });
      await expect(missing).rejects.toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining("experts") });
    });

    it.each(problems)("%s", (_, run) => run(gpu, rounded));

    it("results stay on the device, in bf16 where products take them", async () => {
      const [rows, hidden] = [3, 64];
      await using x = await gpu.createBuffer("f32", rows * hidden);
      await using normed = await gpu.createBuffer("bf16", rows * hidden);
      await x.write(new Float32Array(rows * hidden).fill(2));
      const weight = new Uint16Array(hidden).fill(0x3f80);
      expect((await gpu.rmsNorm({ x, weight, rows, hidden, output: normed })).output).toBe(normed);
      expect(new Set((await normed.read()) as Uint16Array)).toEqual(new Set([0x3f80])); // ones
      const { output } = await gpu.linear({
        x: normed,
        weight: new Uint16Array(hidden * 32).fill(0x3f80),
        rows,
        in: hidden,
        out: 32,
        residual: new Float32Array(rows * 32).fill(1),
      });
      expect(new Set(output)).toEqual(new Set([hidden + 1]));
      await using wrong = await gpu.createBuffer("f32", rows * hidden);
      const refused = gpu.rmsNorm({ x, weight, rows, hidden, output: wrong });
      await expect(refused).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "output" });
    });

    it("is measured and checked", async () => {
      const { check, samples } = await gpu.bench(
        "linear",
        { rows: 2, in: 64, out: 32 },
        { seconds: 0, coldBytes: 20_000 },
      );
      expect(check?.worstError).toBeLessThan(1);
      expect(samples).toHaveLength(5);
      for (const microseconds of samples) expect(microseconds).toBeGreaterThan(0);
    });

    it("has roofs", async () => {
      const { bytesPerSecond, bytesBy, float32, bf16 } = await gpu.roofs({ coldBytes: 1, seconds: 0 });
      for (const rate of [bytesPerSecond, float32.flopsPerSecond, bf16!.flopsPerSecond])
        expect(rate).toBeGreaterThan(0);
      expect(bytesBy).toContain("kernel that reads");
      const units =
        backend === "cuda"
          ? ["fma.rn.f32", "mma.sync.m16n8k16 bf16"]
          : ["fma of float", "simdgroup_multiply_accumulate of bfloat"];
      expect([float32.instruction, bf16!.instruction]).toEqual(units);
    });

    it("has no head of another size than 64, and no float32 cache", async () => {
      const dims = { tokens: 1, keys: 1, heads: 1, kvHeads: 1 };
      const arrays = (size: number) => ({
        q: new Float32Array(size),
        k: new Float32Array(size),
        v: new Float32Array(size),
      });
      const sinks = new Float32Array(1);
      const small = gpu.attention({ ...dims, ...arrays(32), sinks, headDim: 32 });
      await expect(small).rejects.toMatchObject({ code: "UNSUPPORTED" });
      const wide = gpu.attention({ ...dims, ...arrays(64), sinks, kvCacheDtype: "f32" });
      await expect(wide).rejects.toMatchObject({ code: "UNSUPPORTED" });
    });
  });
