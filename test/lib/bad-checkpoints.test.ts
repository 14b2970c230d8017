import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import { type ErrorCode, GptOssError } from "../../lib/errors.js";
import { ModelCopy } from "../support/corrupt.js";

/**
 * Loads damaged checkpoints through `Engine.load`, as a user would. The complete list of refusals of the loader is in
 * test/native/{json,safetensors,config,checkpoint}_test.cpp. This file has one case of each kind.
 */

const weights = "model.safetensors";
const shard = "model-00001-of-00002.safetensors";
const index = "model.safetensors.index.json";
const scales = "model.layers.1.mlp.experts.down_proj_scales"; // [8, 96, 3]

type Damage = [name: string, model: "a" | "c", damage: (copy: ModelCopy) => void, code: ErrorCode, message: RegExp];

const files: Damage[] = [
  [
    "no config.json",
    "a",
    (m) => m.remove("config.json"),
    "MODEL_NOT_FOUND",
    /expected a config.json in .*, found none/,
  ],
  ["no weights", "a", (m) => m.remove(weights), "MODEL_NOT_FOUND", /expected .safetensors files in .*, found none/],
  [
    "weights are a folder",
    "a",
    (m) => {
      m.remove(weights);
      mkdirSync(m.path(weights));
    },
    "MODEL_FORMAT",
    /model.safetensors is a folder, expected a file/,
  ],
  [
    "config.json is empty",
    "a",
    (m) => m.write("config.json", ""),
    "MODEL_FORMAT",
    /config.json: byte 0: expected a value/,
  ],
  [
    "config.json is cut",
    "a",
    (m) => m.cut("config.json", 700),
    "MODEL_FORMAT",
    /config.json: byte 700: a string without its closing quote/,
  ],
  [
    "config.json is a list",
    "a",
    (m) => m.write("config.json", "[]"),
    "MODEL_FORMAT",
    /config.json: expected an object/,
  ],
  [
    "a damaged GGUF file alone",
    "a",
    (m) => {
      m.remove("config.json");
      renameSync(m.path(weights), m.path("model.gguf"));
    },
    "MODEL_FORMAT",
    /model.gguf: expected a file that begins with "GGUF"/,
  ],
  [
    "generation_config.json is broken",
    "a",
    (m) => m.write("generation_config.json", "{"),
    "MODEL_FORMAT",
    /generation_config.json: byte 1/,
  ],
];

const configs: Damage[] = (
  [
    ["another model", { model_type: "llama" }, "UNSUPPORTED", /model_type: not a gpt-oss model: "llama"/],
    [
      "another class",
      { architectures: ["LlamaForCausalLM"] },
      "UNSUPPORTED",
      /not a gpt-oss model: "LlamaForCausalLM"/,
    ],
    [
      "no number of layers",
      { num_hidden_layers: undefined },
      "MODEL_FORMAT",
      /num_hidden_layers: expected an integer .*, found nothing/,
    ],
    [
      "text for a number",
      { hidden_size: "96" },
      "MODEL_FORMAT",
      /hidden_size: expected an integer .*, found "96" \(string\)/,
    ],
    ["no layers", { num_hidden_layers: 0 }, "MODEL_FORMAT", /num_hidden_layers: .* found 0/],
    [
      "more layers than there are",
      { num_hidden_layers: 5, layer_types: undefined },
      "MODEL_FORMAT",
      /expected 98 tensors, 19 are missing: "model.layers.4/,
    ],
    [
      "fewer layers than there are",
      { num_hidden_layers: 3, layer_types: undefined },
      "MODEL_FORMAT",
      /no gpt-oss tensor of this name is expected, found 19 too many/,
    ],
    ["2^53 experts", { num_local_experts: 2 ** 53 }, "MODEL_FORMAT", /num_local_experts: expected an integer in/],
    [
      "heads that do not group",
      { num_attention_heads: 15 },
      "MODEL_FORMAT",
      /a multiple of num_key_value_heads = 2, found 15/,
    ],
    [
      "hidden of 100",
      { hidden_size: 100 },
      "MODEL_FORMAT",
      /hidden_size: expected a multiple of 32, the MXFP4 block, found 100/,
    ],
    [
      "top 9 of 8",
      { num_experts_per_tok: 9, experts_per_token: 9 },
      "MODEL_FORMAT",
      /at most num_local_experts = 8, found 9/,
    ],
    ["two counts of experts", { experts_per_token: 2 }, "MODEL_FORMAT", /the same as experts_per_token = 2, found 4/],
    ["17 experts per token", { num_experts_per_tok: 17, experts_per_token: 17 }, "UNSUPPORTED", /at most 16, found 17/],
    ["no window", { sliding_window: null }, "MODEL_FORMAT", /sliding_window: expected an integer .*, found null/],
    [
      "layer types too few",
      { layer_types: ["full_attention"] },
      "MODEL_FORMAT",
      /one entry for each of 4 layers, found 1/,
    ],
    [
      "unknown layer type",
      { layer_types: ["x", "x", "x", "x"] },
      "MODEL_FORMAT",
      /"sliding_attention" or "full_attention", found "x"/,
    ],
    ["epsilon of 0", { rms_norm_eps: 0 }, "MODEL_FORMAT", /rms_norm_eps: expected a finite number above 0, found 0/],
    [
      "other RoPE",
      { rope_scaling: { rope_type: "llama3", factor: 8 } },
      "UNSUPPORTED",
      /expected "yarn" or "default", found "llama3"/,
    ],
    ["end token past the vocabulary", { eos_token_id: 512 }, "MODEL_FORMAT", /ids below vocab_size = 512, found 512/],
    [
      "tied embeddings",
      { tie_word_embeddings: true },
      "UNSUPPORTED",
      /tie_word_embeddings: expected false, found true/,
    ],
    ["no attention bias", { attention_bias: false }, "UNSUPPORTED", /attention_bias: expected true, found false/],
    ["other activation", { hidden_act: "gelu" }, "UNSUPPORTED", /hidden_act: expected "silu", found "gelu"/],
    [
      "half the head size",
      { head_dim: 32 },
      "MODEL_SHAPE",
      /q_proj.weight": expected shape \[512, 96\], found \[1024, 96\]/,
    ],
    [
      "smaller vocabulary",
      { vocab_size: 511, eos_token_id: 1 },
      "MODEL_SHAPE",
      /embed_tokens.weight": expected shape \[511, 96\], found \[512, 96\]/,
    ],
  ] satisfies [string, Record<string, unknown>, ErrorCode, RegExp][]
).map(([name, values, code, message]) => [name, "a", (m) => m.set("config.json", values), code, message]);

const containers: Damage[] = [
  [
    "another quantization",
    "a",
    (m) => {
      m.set("config.json", { quantization_config: { quant_method: "awq" } });
      m.header(weights, (t) => {
        for (const name of Object.keys(t).filter((name) => name.endsWith("_blocks"))) {
          t[name.replace("_blocks", "_qweight")] = t[name]!;
          delete t[name];
        }
      });
    },
    "UNSUPPORTED",
    /quant_method: expected "mxfp4", found "awq"/,
  ],
  [
    "empty weights",
    "a",
    (m) => m.write(weights, ""),
    "MODEL_FORMAT",
    /expected a header length of 8 bytes, found a file of 0/,
  ],
  [
    "weights cut by a byte",
    "a",
    (m) => m.cut(weights, -1),
    "MODEL_FORMAT",
    /"lm_head.weight": data_offsets .* reach past the end .* cut short/,
  ],
  [
    "weights cut in the header",
    "a",
    (m) => m.cut(weights, 4000),
    "MODEL_FORMAT",
    /expected a header of 8360 bytes, found 3992 bytes in all/,
  ],
  [
    "a byte too many",
    "a",
    (m) => m.write(weights, Buffer.concat([readFileSync(m.path(weights)), Buffer.alloc(1)])),
    "MODEL_FORMAT",
    /found 1 more bytes/,
  ],
  [
    "a Git LFS pointer",
    "a",
    (m) => m.write(weights, "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"),
    "MODEL_FORMAT",
    /git lfs pull/,
  ],
  [
    "a web page",
    "a",
    (m) => m.write(weights, "<!DOCTYPE html><title>401</title>"),
    "MODEL_FORMAT",
    /this is a web page/,
  ],
  [
    "a GGUF file by another name",
    "a",
    (m) => m.write(weights, "GGUF\u0003\0\0\0\0\0\0\0"),
    "MODEL_FORMAT",
    /this is a GGUF file/,
  ],
  [
    "unknown dtype",
    "a",
    (m) => m.header(weights, (t) => Object.assign(t["model.norm.weight"]!, { dtype: "F9" })),
    "MODEL_FORMAT",
    /"model.norm.weight": expected a dtype among .* found "F9"/,
  ],
  [
    "negative shape",
    "a",
    (m) => m.header(weights, (t) => Object.assign(t["model.norm.weight"]!, { shape: [-96] })),
    "MODEL_FORMAT",
    /in shape, found -96/,
  ],
  [
    "size against shape",
    "a",
    (m) => m.header(weights, (t) => Object.assign(t["model.norm.weight"]!, { shape: [95] })),
    "MODEL_FORMAT",
    /expected 190 bytes for BF16 \[95\], found 192/,
  ],
  [
    "overlapping tensors",
    "a",
    (m) => m.header(weights, (t) => Object.assign(t["model.norm.weight"]!, { data_offsets: [0, 192] })),
    "MODEL_FORMAT",
    /overlap tensor/,
  ],
  [
    "a hole",
    "a",
    (m) => m.header(weights, (t) => delete t["model.norm.weight"]),
    "MODEL_FORMAT",
    /"lm_head.weight": data_offsets .* leave a hole of 192 bytes/,
  ],
  [
    "a tensor renamed",
    "a",
    (m) =>
      m.header(weights, (t) => {
        t.x = t["model.norm.weight"]!;
        delete t["model.norm.weight"];
      }),
    "MODEL_FORMAT",
    /1 is missing: "model.norm.weight"/,
  ],
  [
    "another dtype of the same size",
    "a",
    (m) => m.header(weights, (t) => Object.assign(t["lm_head.weight"]!, { dtype: "F16" })),
    "MODEL_SHAPE",
    /"lm_head.weight": expected BF16, found F16/,
  ],
  [
    "a transposed matrix",
    "a",
    (m) => m.header(weights, (t) => Object.assign(t["lm_head.weight"]!, { shape: [96, 512] })),
    "MODEL_SHAPE",
    /expected shape \[512, 96\], found \[96, 512\]/,
  ],
  [
    "a NaN scale",
    "a",
    (m) => m.byte(weights, scales, (5 * 96 + 7) * 3 + 1, 255),
    "MODEL_FORMAT",
    /down_proj_scales": expert 5, row 7, block 1: expected a scale in \[2, 252\], found 255/,
  ],
  ["a scale of 0", "a", (m) => m.byte(weights, scales, 0, 0), "MODEL_FORMAT", /expert 0, row 0, block 0: .* found 0/],
];

const shards: Damage[] = [
  [
    "a shard missing",
    "c",
    (m) => m.remove(shard),
    "MODEL_FORMAT",
    /index.json: the shard "model-00001-of-00002.safetensors" is missing/,
  ],
  [
    "a shard cut",
    "c",
    (m) => m.cut(shard, 100_000),
    "MODEL_FORMAT",
    /model-00001-of-00002.safetensors: tensor .* cut short/,
  ],
  [
    "an index of another model",
    "c",
    (m) => m.replace(index, '"model.norm.weight"', '"x"'),
    "MODEL_FORMAT",
    /"model.norm.weight" is not in .*index.json/,
  ],
  [
    "an index that lists more",
    "c",
    (m) => m.replace(index, '"weight_map": {', `"weight_map": { "x": "${shard}", `),
    "MODEL_FORMAT",
    /expected tensor "x" as .*index.json says/,
  ],
  [
    "an index that leads outside",
    "c",
    (m) => m.replace(index, '"weight_map": {', '"weight_map": { "x": "../x.safetensors", '),
    "MODEL_FORMAT",
    /beside the index, found "..\/x.safetensors"/,
  ],
  [
    "an index without weight_map",
    "c",
    (m) => m.write(index, "{}"),
    "MODEL_FORMAT",
    /weight_map: expected an object, found nothing/,
  ],
];

const tokens = [1, 2, 3, 4, 5];

async function greedy(model: string): Promise<number[]> {
  await using engine = await Engine.load(model, { contextLength: 64 });
  return [...(await engine.generate(tokens, { temperature: 0, maxTokens: 8, ignoreEos: true }).result).tokens];
}

describe("a damaged checkpoint is refused with a code and the place of the damage", () => {
  it.each([...files, ...configs, ...containers, ...shards])("%s", async (_name, model, damage, code, message) => {
    const copy = new ModelCopy(model);
    try {
      damage(copy);
      const error = await Engine.load(copy.folder).then(
        (engine) => engine.close().then(() => expect.fail("it loaded")),
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(GptOssError);
      const { code: found, message: said } = error as GptOssError;
      expect(said).toMatch(message);
      expect(said).toContain(copy.folder);
      expect(found).toBe(code);
    } finally {
      copy.delete();
    }
  });

  it("nothing at the path", async () => {
    await expect(Engine.load("/no/such/model")).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringMatching(/\/no\/such\/model, found nothing/),
    });
  });
});

describe("after failures", () => {
  it("a good model loads and answers as before, and no file stays open or mapped", async () => {
    const good = path.resolve("test/golden/models/a");
    const before = await greedy(good);
    const copy = new ModelCopy("a");
    try {
      copy.byte(weights, scales, 0, 255);
      await expect(Engine.load(copy.folder)).rejects.toMatchObject({ code: "MODEL_FORMAT" });
      const descriptors = openDescriptors();
      for (let round = 0; round < 50; round++) await Engine.load(copy.folder).catch(() => undefined);
      expect(openDescriptors()).toBe(descriptors);
      expect(mappingsUnder(copy.folder)).toBe(0);
    } finally {
      copy.delete();
    }
    expect(await greedy(good)).toEqual(before);
    expect(mappingsUnder(good)).toBe(0); // a closed engine holds no mapping either
  });
});

/** Only Linux lists both. On other systems there is nothing to compare. */
function openDescriptors(): number {
  return existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0;
}

function mappingsUnder(folder: string): number {
  if (!existsSync("/proc/self/maps")) return 0;
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(folder)).length;
}
