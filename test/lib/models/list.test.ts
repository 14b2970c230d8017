import { unlinkSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ggufArchitecture } from "../../../lib/models/gguf-architecture.js";
import { listIn } from "../../../lib/models/list.js";
import { resolveIn } from "../../../lib/models/resolve.js";
import { commitOf, ggufStart, goldenFiles, ModelHome } from "../../support/model-home.js";

let home: ModelHome;
const library = "registry.ollama.ai/library";
const mine = '{ "model_type": "gpt_oss" }';

beforeAll(() => {
  home = new ModelHome();
  home.snapshot("openai/gpt-oss-20b", goldenFiles("c"));
  home.snapshot("openai/gpt-oss-20b", { "config.json": mine, "model.safetensors": "old" }, { digit: "b", refs: [] });
  home.snapshot("meta/llama", { "config.json": '{ "model_type": "llama" }', "model.safetensors": "x" });
  home.snapshot("u/x-GGUF", { "x-F16.gguf": ggufStart("gpt-oss"), "x-Q8_0.gguf": ggufStart("gpt-oss") });
  home.snapshot("u/qwen-GGUF", { "qwen.gguf": ggufStart("qwen3") });
  home.snapshot("me/tokenizer", { "config.json": mine, "tokenizer.json": "{}" });
  const cut = home.snapshot("me/cut", goldenFiles("c"));
  unlinkSync(path.join(cut, "model-00001-of-00002.safetensors"));
  home.lmStudio("mlx-community/gpt-oss-20b-MLX", {
    "config.json": '{ "model_type": "gpt_oss", "quantization": { "bits": 4 } }',
    "model.safetensors": "mlx",
  });
  home.lmStudio("openai/gpt-oss-20b", { "config.json": mine, "model.safetensors": "again" });
  home.ollama(`${library}/gpt-oss/20b`, home.manifest([{ kind: "model", content: ggufStart("gptoss") }]));
  home.ollama(`${library}/llama/latest`, home.manifest([{ kind: "model", content: ggufStart("llama") }]));
  home.ollama(`${library}/gpt-oss/120b-cloud`, home.manifest([{ kind: "params", content: "{}" }]));
  home.ollama(`${library}/broken/latest`, { layers: 5 });
});
afterAll(() => home.remove());

describe("the list of models", () => {
  it("has every gpt-oss model of every place, with its name, size and format", async () => {
    const found = (await listIn(home.places)).map(({ name, source, bytes, format, problem }) => {
      return [name, source, bytes, format, problem].join(" | ");
    });
    expect(found).toEqual([
      "me/cut | huggingface-cache | 315650 | safetensors | incomplete: model-00001-of-00002.safetensors missing",
      "me/tokenizer | huggingface-cache | 0 | safetensors | incomplete: weights missing",
      "openai/gpt-oss-20b | huggingface-cache | 590054 | safetensors | ",
      `openai/gpt-oss-20b@${commitOf("b")} | huggingface-cache | 3 | safetensors | `,
      "u/x-GGUF:x-F16.gguf | huggingface-cache | 71 | gguf | ",
      "u/x-GGUF:x-Q8_0.gguf | huggingface-cache | 71 | gguf | ",
      "mlx-community/gpt-oss-20b-MLX | lm-studio | 3 | mlx | ",
      `${home.path(".lmstudio/models/openai/gpt-oss-20b")} | lm-studio | 5 | safetensors | `,
      `gpt-oss:120b-cloud | ollama | 0 | gguf | ${home.path(`.ollama/models/manifests/${library}/gpt-oss/120b-cloud`)}: expected one layer of weights, found none; a model of Ollama's cloud has no weights on this machine`,
      "gpt-oss:20b | ollama | 70 | gguf | ",
    ]);
  });

  it("has names that lead to the same files", async () => {
    const usable = (await listIn(home.places)).filter(({ problem }) => problem === null);
    expect(usable).toHaveLength(7);
    for (const { name, path: file } of usable) expect((await resolveIn(home.places, name)).path).toBe(file);
  });

  it("is empty where nothing is", async () => {
    expect(await listIn({ huggingFace: null, lmStudio: null, ollama: [] })).toEqual([]);
    const none = home.path("none");
    expect(await listIn({ huggingFace: none, lmStudio: none, ollama: [none] })).toEqual([]);
  });
});

describe("the architecture of a GGUF file", () => {
  it("is its first entry, and unknown where the file is something else", async () => {
    const whole = ggufStart("gpt-oss");
    expect(await ggufArchitecture(home.write("a.gguf", whole))).toBe("gpt-oss");
    const later = Buffer.concat([whole.subarray(0, 24), Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]), Buffer.from("abc")]);
    const huge = Buffer.from(whole);
    huge.writeBigUInt64LE(2n ** 63n, 24);
    for (const other of [
      later,
      huge,
      whole.subarray(0, 30),
      whole.subarray(0, 50),
      "",
      "GGUF",
      "text of a file",
      Buffer.alloc(600),
    ]) {
      expect(await ggufArchitecture(home.write("b.gguf", other))).toBeNull();
    }
    expect(await ggufArchitecture(home.path("nothing"))).toBeNull();
    expect(await ggufArchitecture(home.root)).toBeNull();
  });
});
