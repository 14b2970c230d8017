import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LoadProgress } from "../../lib/binding.js";
import { Engine } from "../../lib/engine.js";
import type { EngineOptions } from "../../lib/generation/options.js";
import { inspectCheckpoint } from "../../lib/inspect.js";

/**
 * The place of the experts on a CPU that reads them in a packed order. On other CPUs, every option gives the same
 * result: no expert is packed.
 */

let folder: string;
let model: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-packed-"));
  model = path.join(folder, "model");
  cpSync(path.resolve("test/golden/models/a"), model, { recursive: true, preserveTimestamps: true });
});
afterAll(() => rmSync(folder, { recursive: true }));

const prompt = Array.from({ length: 40 }, (_, i) => (i * 37) % 500);
const load = (options: EngineOptions) => Engine.load(model, { backend: "cpu", contextLength: 256, ...options });

async function logits(options: EngineOptions): Promise<Float32Array> {
  await using engine = await load(options);
  return await engine.logits(prompt, { last: 4 }); // before it is closed
}

async function isPacking(): Promise<boolean> {
  await using engine = await load({ packedWeights: "memory" });
  expect(engine.info.packedWeights.in).toBe(engine.info.isa === "amx" ? "memory" : "none");
  return engine.info.isa === "amx";
}

describe("packedWeights", () => {
  it("in a folder: made once, reported meanwhile, mapped afterwards, with the same bits as in memory", async () => {
    const place = path.join(folder, "place");
    const packs = await isPacking();
    const told: LoadProgress[] = [];
    const options = { packedWeights: place, onProgress: (progress: LoadProgress) => void told.push(progress) };
    const first = await logits(options);
    const writes = told.filter((progress) => progress.writes !== undefined);
    expect(writes.length > 0).toBe(packs);
    const files = packs ? readdirSync(place) : [];
    expect(files).toHaveLength(packs ? 1 : 0);
    if (packs) expect(writes[0]!.writes).toBe(path.join(place, files[0]!));

    const made = files.map((file) => statSync(path.join(place, file)).mtimeMs);
    told.length = 0;
    expect(await logits(options)).toEqual(first);
    expect(told.every((progress) => progress.writes === undefined)).toBe(true);
    expect(files.map((file) => statSync(path.join(place, file)).mtimeMs)).toEqual(made);
    expect(await logits({ packedWeights: "memory" })).toEqual(first);
    expect(readdirSync(model).includes(".gpt-oss-node")).toBe(false);

    // A damaged file is made again, with the same result.
    for (const file of files) writeFileSync(path.join(place, file), "no such file");
    expect(await logits(options)).toEqual(first);
  });

  it("auto: small models are packed in memory, and no file is written", async () => {
    await using engine = await load({});
    expect(engine.info.packedWeights).toEqual({ in: engine.info.isa === "amx" ? "memory" : "none" });
    expect(readdirSync(model).includes(".gpt-oss-node")).toBe(false);
  });

  it("a folder that cannot be made: packed in memory, with the reason", async () => {
    const file = path.join(folder, "file");
    writeFileSync(file, "");
    await using engine = await load({ packedWeights: path.join(file, "place") });
    const { in: where, reason } = engine.info.packedWeights;
    if (engine.info.isa === "amx") expect([where, reason]).toEqual(["memory", expect.stringContaining("cannot make")]);
    else expect(where).toBe("none");
  });

  it.each([[""], [7], [null], ["a\0b"]])("%j is refused", async (packedWeights) => {
    await expect(load({ packedWeights: packedWeights as string })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining('"auto", "memory" or a folder for packedWeights'),
    });
  });

  it("is read completely by inspect, which reports damage", async () => {
    const place = path.join(model, ".gpt-oss-node"); // the folder of "auto" for a larger model
    await logits({ packedWeights: place });
    const { packed } = await inspectCheckpoint(model);
    expect(packed.map(({ damage }) => damage)).toEqual((await isPacking()) ? [null] : []);
    for (const file of packed) {
      const bytes = readFileSync(file.path);
      expect(bytes.length).toBe(file.bytes);
      bytes[bytes.length - 5000]! ^= 1;
      writeFileSync(file.path, bytes);
    }
    const damaged = (await inspectCheckpoint(model)).packed;
    expect(damaged.every(({ damage }) => damage?.includes("are damaged"))).toBe(true);
    expect(damaged).toHaveLength(packed.length);
  });
});
