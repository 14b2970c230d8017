import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { inspectCheckpoint } from "../../../lib/inspect.js";
import { GoldenModel, ggufBytes, ggufOf } from "../../support/gguf.js";
import { goldenFiles, ModelHome } from "../../support/model-home.js";

/** The same golden model in the places of other programs gives the same logits. */

let home: ModelHome;
const saved = { HF_HUB_CACHE: process.env.HF_HUB_CACHE, OLLAMA_MODELS: process.env.OLLAMA_MODELS };

beforeAll(() => {
  home = new ModelHome();
  process.env.HF_HUB_CACHE = home.places.huggingFace!;
  process.env.OLLAMA_MODELS = home.places.ollama[0]!;
  const golden = new GoldenModel("a");
  home.snapshot("openai/gpt-oss-20b", goldenFiles("a"));
  home.snapshot("ggml-org/gpt-oss-20b-GGUF", { "gpt-oss-20b-mxfp4.gguf": ggufBytes(ggufOf(golden)) });
  const weights = ggufBytes(ggufOf(golden, { ollama: "split" }));
  home.ollamaV2("ollama.com/library/gpt-oss/20b", home.manifest([{ kind: "model", content: weights }]));
});
afterAll(() => {
  for (const [name, value] of Object.entries(saved)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  home.remove();
});

async function logits(model: string): Promise<{ source: string; logits: Float32Array }> {
  await using engine = await Engine.load(model, { backend: "cpu", contextLength: 128 });
  return { source: engine.info.resolved.source, logits: await engine.logits([1, 2, 3, 4], { last: 2 }) };
}

it.each([
  ["20b", "huggingface-cache", "huggingface"],
  ["ggml-org/gpt-oss-20b-GGUF", "huggingface-cache", "gguf"],
  ["gpt-oss:20b", "ollama", "gguf (Ollama)"],
])("%s is loaded from the %s", async (name, source, layout) => {
  expect((await inspectCheckpoint(name)).layout).toBe(layout);
  const expected = await logits(path.resolve("test/golden/models/a"));
  expect(await logits(name)).toEqual({ source, logits: expected.logits });
});
