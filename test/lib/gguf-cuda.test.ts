import "../support/emulated-addon.cjs";
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import { type Gguf, GoldenModel, ggufBytes, ggufOf } from "../support/gguf.js";

/** GGUF on the emulated GPU: converted tensors stream through the pinned slots. */

const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);
if (!emulated) {
  it(`GGUF on CUDA: NOT RUN, there is no emulated GPU for ${process.platform}-${process.arch}`, () => {
    expect(existsSync("build/Emulated/libgptoss_cuda.so")).toBe(false);
  });
}

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-gguf-cuda-")));
});
afterAll(() => rmSync(root, { recursive: true }));

const golden = new GoldenModel("a");
let files = 0;
function write(gguf: Gguf): string {
  const file = path.join(root, `${++files}.gguf`);
  writeFileSync(file, ggufBytes(gguf));
  return file;
}
const load = (model: string) =>
  Engine.load(model, { backend: "cuda", contextLength: 128, maxSequences: 2, maxBatchTokens: 16 });

async function logits(model: string): Promise<Float32Array> {
  await using engine = await load(model);
  return await engine.logits([1, 2, 3, 4, 5, 6], { last: 2 });
}

(emulated ? describe : () => undefined)("GGUF on CUDA", () => {
  it("bf16, and Ollama's order: the same bits as the safetensors file", async () => {
    const expected = await logits(path.resolve("test/golden/models/a"));
    expect(await logits(write(ggufOf(golden)))).toEqual(expected);
    expect(await logits(write(ggufOf(golden, { ollama: "fused" })))).toEqual(expected);
  });

  it("Q8_0 becomes bf16, and what that changes is told", async () => {
    await using engine = await load(write(ggufOf(golden, { dense: "q8_0" })));
    expect(engine.info.denseWeights).toBe("bf16");
    const { dense } = engine.info.conversion!;
    expect(dense.changed).toBeGreaterThan(0.5 * dense.values);
    expect(dense.relativeRms).toBeLessThan(2 ** -9);
  });

  it("a scale that its kernels cannot use is refused by name", async () => {
    const gguf = ggufOf(golden);
    const name = "blk.2.ffn_up_exps.weight";
    gguf.tensors.find((tensor) => tensor.name === name)!.bytes[17 * 40] = 129;
    await expect(load(write(gguf))).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringMatching(/blk.2.ffn_up_exps.weight.*MXFP4 scales up to 2 \(byte 128\), found byte 129/),
    });
  });
});
