import { once } from "node:events";
import path from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { bf16, float32, kernels } from "../../../lib/kernels/index.js";
import { failure } from "../../support/failure.js";

/** Buffers of the device, benches, and the life of kernels. */

const ones = (n: number) => new Float32Array(n).fill(1);
const norm = { x: ones(8), weight: ones(4), rows: 2, hidden: 4 };

describe("buffers", () => {
  it.each([
    ["f32", new Float32Array([1.5, -2, 3])],
    ["bf16", new Uint16Array([1, 65535, 7])],
    ["i32", new Int32Array([-5, 2, 2 ** 31 - 1])],
    ["u8", new Uint8Array([255, 1, 2])],
  ] as const)("%s: what is written is read", async (dtype, values) => {
    await using cpu = kernels("cpu", { threads: 1 });
    await using buffer = await cpu.createBuffer(dtype, 5);
    expect(buffer).toMatchObject({ dtype, length: 5 });
    expect([...(await buffer.read())]).toEqual([0, 0, 0, 0, 0]);
    await buffer.write(values, 1); // the bytes before and after it stay
    expect([...(await buffer.read())]).toEqual([0, ...values, 0]);
    await buffer.write(values.subarray(0, 1), 4);
    expect([...(await buffer.read())]).toEqual([0, ...values, values[0]]);
  });

  it("an empty one", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    await using buffer = await cpu.createBuffer("u8", 0);
    await buffer.write(new Uint8Array(0));
    expect(await buffer.read()).toHaveLength(0);
  });

  it("a call takes and gives them, and arrays are copied at the call", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    await using x = await cpu.createBuffer("f32", 8);
    await using output = await cpu.createBuffer("f32", 8);
    const values = ones(8);
    const written = x.write(values);
    values.fill(9);
    await written;
    const result = await cpu.rmsNorm({ ...norm, x, output });
    expect(result.output).toBe(output);
    expect((await output.read())[0]).toBeCloseTo(1, 4);
    const index = await cpu.createBuffer("i32", 2);
    const choice = await cpu.router({ logits: new Float32Array([1, 3, 2]), tokens: 1, experts: 3, topK: 2, index });
    expect(choice.index).toBe(index);
    expect([...(await index.read())]).toEqual([1, 2]);
    expect(choice.weight).toBeInstanceOf(Float32Array);
  });

  it("memory that is shared with other threads, and fewer experts than topK is by default", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const logits = new Float32Array(new SharedArrayBuffer(8));
    logits.set([1, 2]);
    const { index, weight } = await cpu.router({ logits, tokens: 1, experts: 2 });
    expect([...index]).toEqual([1, 0]);
    expect(weight[0]! + weight[1]!).toBeCloseTo(1, 6);
    await using buffer = await cpu.createBuffer("f32", 2);
    await buffer.write(logits);
    expect([...(await buffer.read())]).toEqual([1, 2]);
    for (const [operation, dims] of [
      ["router", { tokens: 1, experts: 2 }],
      ["experts", { tokens: 2, hidden: 32, intermediate: 32, experts: 2 }],
    ] as const)
      expect((await cpu.bench(operation, dims, { seconds: 0, coldBytes: 0 })).check!.worstError).toBeLessThan(1);
    for (const given of [null, undefined, 3])
      expect((await failure(() => cpu.bench("linear", given as never))).code).toBe("INVALID_ARGUMENT");
    const huge = await failure(() => cpu.bench("rmsNorm", { rows: 2 ** 24, hidden: 2 ** 24 }));
    expect(huge.code).toBe("INVALID_ARGUMENT");
  });

  it("misuse", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    await using other = kernels("cpu", { threads: 1 });
    const buffer = await cpu.createBuffer("f32", 8);
    for (const [call, field] of [
      [() => cpu.createBuffer("f64" as never, 1), "dtype"],
      [() => cpu.createBuffer("f32", -1), "length"],
      [() => cpu.createBuffer("f32", 1.5), "length"],
      [() => cpu.createBuffer("f32", 2 ** 40), "length"],
      [() => buffer.write(new Float64Array(1) as never), "values"],
      [() => buffer.write([1] as never), "values"],
      [() => buffer.write(ones(9)), "values"],
      [() => buffer.write(ones(1), 8), "values"],
      [() => buffer.write(ones(1), -1), "first"],
      [() => other.rmsNorm({ ...norm, x: buffer }), "x"],
      [() => cpu.rmsNorm({ ...norm, x: buffer, weight: buffer }), "weight"],
    ] as const)
      expect(await failure(call as () => Promise<unknown>)).toMatchObject({ code: "INVALID_ARGUMENT", field });
    await buffer.dispose();
    await buffer.dispose();
    expect((await failure(() => buffer.read())).code).toBe("CLOSED");
    expect((await failure(() => buffer.write(ones(1)))).code).toBe("CLOSED");
    const disposed = { code: "INVALID_ARGUMENT", field: "x", message: "x is a buffer that was disposed" };
    expect(await failure(() => cpu.rmsNorm({ ...norm, x: buffer }))).toMatchObject(disposed);
    const index = await cpu.createBuffer("i32", 8);
    const wrongType = expect.stringContaining("a Float32Array but received a buffer of i32");
    expect(await failure(() => cpu.rmsNorm({ ...norm, x: index }))).toMatchObject({ field: "x", message: wrongType });
  });
});

describe("bf16", () => {
  it("rounds to nearest, ties to even", () => {
    const cases: [number, number][] = [
      [1, 0x3f80],
      [-2, 0xc000],
      [1 + 2 ** -8, 0x3f80], // a tie: to even
      [1 + 3 * 2 ** -8, 0x3f82],
      [1 + 2 ** -8 + 2 ** -20, 0x3f81],
      [Number.POSITIVE_INFINITY, 0x7f80],
      [3.4e38, 0x7f80],
      [-0, 0x8000],
    ];
    for (const [value, expected] of cases) expect(bf16(new Float32Array([value]))[0]).toBe(expected);
    expect(float32(bf16(new Float32Array([Number.NaN])))[0]).toBeNaN();
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((bits) => (bits & 0x7fff) <= 0x7f80);
    expect(bf16(float32(all))).toEqual(all);
  });
});

describe("benches", () => {
  it.each([
    ["embed", { vocab: 100, hidden: 64, tokens: new Int32Array([1, 2]) }],
    ["rmsNorm", { rows: 3, hidden: 64 }],
    ["linear", { rows: 40, in: 64, out: 96 }],
    ["lmHead", { rows: 2, hidden: 64, vocab: 300 }],
    ["qkv", { tokens: 40, hidden: 64, heads: 4, kvHeads: 2 }],
    ["attention", { tokens: 3, keys: 200, heads: 4, kvHeads: 2, window: 7 }],
    ["router", { tokens: 5, experts: 32 }],
    ["experts", { tokens: 9, hidden: 64, intermediate: 32, experts: 8 }],
    ["sample", { rows: 2, vocab: 1000 }],
    ["swiglu", { rows: 3, intermediate: 64 }],
    ["mxfp4Dequantize", { rows: 3, cols: 64 }],
  ] as const)("%s: random operands, a right result, samples", async (operation, dims) => {
    await using cpu = kernels("cpu", { threads: 2 });
    const found = await cpu.bench(operation, dims, { seconds: 0.01, coldBytes: 2 ** 20 });
    expect(found.operation).toBe(operation);
    expect(found.check!.values).toBeGreaterThan(0);
    expect(found.check!.worstError).toBeLessThan(1);
    expect(found.samples.length).toBeGreaterThanOrEqual(5);
    expect(found.microseconds.min).toBeGreaterThan(0);
    expect(found.microseconds.min).toBeLessThanOrEqual(found.microseconds.median);
    expect(found.microseconds.median).toBeLessThanOrEqual(found.microseconds.max);
    expect(found.bytesMoved).toBeGreaterThan(0);
  });

  it("own arrays, and no check", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const { check } = await cpu.bench("rmsNorm", norm, { check: false, seconds: 0 });
    expect(check).toBeNull();
  });

  it("bytes and operations are those of the shapes", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const counts = async (...given: Parameters<typeof cpu.bench>) => {
      const { bytesMoved, flops } = await cpu.bench(given[0], given[1], { seconds: 0, coldBytes: 0 });
      return [bytesMoved, flops];
    };
    expect(await counts("linear", { rows: 3, in: 64, out: 32 })).toEqual([64 * 32 * 2, 2 * 3 * 64 * 32]);
    expect(await counts("router", { tokens: 3, experts: 8 })).toEqual([3 * 8 * 4, 0]);
    const attention = { tokens: 1, keys: 200, heads: 4, kvHeads: 2, kvCacheDtype: "bf16" as const };
    expect(await counts("attention", attention)).toEqual([2 * 200 * 2 * 64 * 2, 4 * 200 * 4 * 64]);
    expect(await counts("attention", { ...attention, window: 7 })).toEqual([2 * 7 * 2 * 64 * 2, 4 * 7 * 4 * 64]);
    const experts = { tokens: 1, hidden: 64, intermediate: 32, experts: 8 };
    const matrix = (rows: number, cols: number) => (rows * cols * 17) / 32 + 4 * rows;
    expect(await counts("experts", experts)).toEqual([4 * (matrix(64, 64) + matrix(64, 32)), 6 * 4 * 64 * 32]);
  });

  it.each([
    [{ coldBytes: -1 }, "coldBytes"],
    [{ seconds: Number.NaN }, "seconds"],
    [{ check: 1 }, "check"],
    [{ signal: {} }, "signal"],
    [{ repeats: 3 }, "repeats"],
  ])("an option that does not fit: %j", async (options, field) => {
    await using cpu = kernels("cpu", { threads: 1 });
    const error = await failure(() => cpu.bench("rmsNorm", norm, options as never));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field });
  });

  it("stops between two samples at an abort", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const abort = new AbortController();
    const bench = cpu.bench("rmsNorm", norm, { seconds: 3600, signal: abort.signal });
    await cpu.rmsNorm(norm); // it has begun
    abort.abort(new Error("enough"));
    await expect(bench).rejects.toThrow("enough");
    await expect(cpu.bench("rmsNorm", norm, { signal: abort.signal })).rejects.toThrow("enough");
    expect((await cpu.rmsNorm(norm)).output).toHaveLength(8);
  });

  it("the roofs of the CPU", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const roofs = await cpu.roofs({ coldBytes: 2 ** 20, seconds: 0.001 });
    expect(roofs.bytesPerSecond).toBeGreaterThan(0);
    expect(roofs.float32.flopsPerSecond).toBeGreaterThan(0);
    expect((await cpu.info()).numerics === "fast").toBe(roofs.bf16 !== null);
    expect(await failure(() => cpu.roofs({ seconds: -1 }))).toMatchObject({ field: "seconds" });
  });
});

describe("the life of kernels", () => {
  it("other code runs while an operation does", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    let isDone = false;
    const run = cpu.bench("linear", { rows: 64, in: 2048, out: 2048 }, { seconds: 0, coldBytes: 0 }).then(() => {
      isDone = true;
    });
    let turns = 0;
    for (; !isDone; turns++) await turn();
    await run;
    expect(turns).toBeGreaterThan(100);
  });

  it.each([
    ["rmsNorm", { rows: 4096, hidden: 4096 }],
    ["router", { tokens: 2 ** 16, experts: 256 }],
    ["swiglu", { rows: 4096, intermediate: 2048 }],
    ["embed", { tokens: (2 ** 22) as never, vocab: 64, hidden: 32 }],
    ["experts", { tokens: 4096, hidden: 32, intermediate: 32, experts: 128 }],
  ] as const)("random operands of %s are not made on the thread of JavaScript", async (operation, dims) => {
    const times: number[] = [];
    for (let tries = 0; tries < 3; tries++) {
      const cpu = kernels("cpu", { threads: 1 });
      const start = performance.now();
      const bench = cpu.bench(operation, dims, { coldBytes: 0 });
      times.push(performance.now() - start);
      const ended = expect(bench).rejects.toMatchObject({ code: "CLOSED" });
      await cpu.close();
      await ended;
    }
    expect(Math.min(...times)).toBeLessThan(20);
  });

  it("close ends what runs, rejects what waits, and can be repeated", async () => {
    const cpu = kernels("cpu", { threads: 1 });
    const buffer = await cpu.createBuffer("f32", 8);
    const calls = Array.from({ length: 20 }, () =>
      cpu.linear({ x: ones(2 ** 20), weight: new Uint16Array(2 ** 20), rows: 1024, in: 1024, out: 1024 }),
    );
    const settled = Promise.allSettled(calls);
    await cpu.close();
    await cpu.close();
    const reasons = (await settled).flatMap((one) => (one.status === "rejected" ? [one.reason.code] : []));
    expect(reasons.length).toBeGreaterThan(0);
    expect(new Set(reasons)).toEqual(new Set(["CLOSED"]));
    for (const call of [() => cpu.info(), () => cpu.rmsNorm(norm), () => buffer.read()])
      expect((await failure(call as () => Promise<unknown>)).code).toBe("CLOSED");
    await buffer.dispose();
  });

  it("an idle one keeps no process alive, and a thread can be terminated at any time", async () => {
    const file = path.resolve("dist/kernels/index.js");
    const code = `
      import { kernels } from ${JSON.stringify(`file://${file}`)};
      import { parentPort, workerData } from "node:worker_threads";
      const cpu = kernels("cpu", { threads: 2 });
      await cpu.createBuffer("f32", 8);
      if (workerData === "busy") {
        for (let i = 0; i < 50; i++)
          cpu.bench("linear", { rows: 64, in: 1024, out: 1024 }, { seconds: 60 }).catch(() => {});
      }
      parentPort.postMessage("begun");`;
    for (const how of ["idle", "busy"]) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), { workerData: how });
      const exit = once(worker, "exit");
      await once(worker, "message");
      if (how === "busy") await worker.terminate();
      await exit;
    }
  });
});
