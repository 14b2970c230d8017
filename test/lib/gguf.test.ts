import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import type { ErrorCode } from "../../lib/errors.js";
import type { EngineOptions } from "../../lib/generation/options.js";
import { inspectCheckpoint } from "../../lib/inspect.js";
import { tokenizer } from "../../lib/tokenizer/index.js";
import {
  f16Value,
  floatExperts,
  type Gguf,
  type GgufOptions,
  type GgufTensor,
  type GgufValue,
  GoldenModel,
  ggmlType,
  ggufBytes,
  ggufOf,
  printable,
  q8Bytes,
} from "../support/gguf.js";

/** Golden models as GGUF, compared with the safetensors files that they were made from. */

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-gguf-")));
});
afterAll(() => rmSync(root, { recursive: true }));

const golden = { a: new GoldenModel("a"), c: new GoldenModel("c") };
type Golden = keyof typeof golden;

let files = 0;
function write(gguf: Gguf, name = `${++files}.gguf`): string {
  const file = path.join(root, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, ggufBytes(gguf));
  return file;
}

const tokens = Array.from({ length: 60 }, (_, i) => (i * 37) % 300);

async function logits(model: string, options: EngineOptions = {}): Promise<Float32Array> {
  await using engine = await Engine.load(model, { backend: "cpu", contextLength: 128, ...options });
  return await engine.logits(tokens, { last: 5 });
}

const huggingface = (name: Golden) => path.resolve("test/golden/models", name);

describe("the same bits as the safetensors files", () => {
  const variants: [string, Golden, GgufOptions][] = [
    ["bf16", "a", { dense: "bf16" }],
    ["f32", "a", { dense: "f32" }],
    ["bf16, other shapes", "c", { dense: "bf16" }],
    ["Ollama: its names, keys and type of MXFP4", "a", { ollama: "split" }],
    ["Ollama's first version, with fused tensors", "c", { ollama: "fused" }],
  ];
  it.each(variants)("%s", async (_name, model, options) => {
    expect(await logits(write(ggufOf(golden[model], options)))).toEqual(await logits(huggingface(model)));
  });
});

describe("each difference of Ollama's files alone", () => {
  const rename = (from: string, to: string) => (gguf: Gguf) => {
    for (const tensor of gguf.tensors) tensor.name = tensor.name.replace(from, to);
  };
  /** The keys of the architecture "gptoss", without some. */
  const old = (gguf: Gguf, without: string[] = [], more: [string, GgufValue][] = []) => {
    const values = [...gguf.values].filter(([key]) => !without.includes(key));
    gguf.values = new Map([
      ...values.map(([key, value]): [string, GgufValue] => [key.replace(/^gpt-oss\./, "gptoss."), value]),
      ["general.architecture", { type: "string", value: "gptoss" }],
      ...more,
    ]);
  };
  const pairs = (gguf: Gguf) => {
    const fused = ggufOf(golden.c, { ollama: "split" }).tensors;
    for (const tensor of gguf.tensors.filter(({ type }) => type === ggmlType.mxfp4)) {
      Object.assign(
        tensor,
        fused.find(({ name }) => name === tensor.name),
      );
    }
  };
  const rows: [string, (gguf: Gguf) => void, string][] = [
    ["architecture and prefix", (gguf) => old(gguf), "gguf (Ollama)"],
    ["no width of the experts", (gguf) => old(gguf, ["gpt-oss.expert_feed_forward_length"]), "gguf (Ollama)"],
    ["no type of RoPE scaling", (gguf) => old(gguf, ["gpt-oss.rope.scaling.type"]), "gguf (Ollama)"],
    [
      "the mark of another pre-tokenizer",
      (gguf) => old(gguf, [], [["tokenizer.ggml.pre", { type: "string", value: "default" }]]),
      "gguf (Ollama)",
    ],
    ["attn_out", rename("attn_output", "attn_out"), "gguf"],
    ["attn_sinks without .weight", rename("attn_sinks.weight", "attn_sinks"), "gguf"],
    ["ffn_norm", rename("post_attention_norm", "ffn_norm"), "gguf"],
    ["type 4 for MXFP4, in the order of OpenAI's files", pairs, "gguf"],
  ];
  it.each(rows)("%s", async (_name, change, layout) => {
    const gguf = ggufOf(golden.c);
    change(gguf);
    const file = write(gguf);
    expect((await inspectCheckpoint(file)).layout).toBe(layout);
    expect(await logits(file)).toEqual(await logits(huggingface("c")));
  });
});

describe("dense weights that bf16 does not hold", () => {
  /** The model with its dense matrices changed, as a safetensors twin would have them. */
  function twin(model: GoldenModel, change: (values: Float32Array) => Float32Array): Gguf {
    const gguf = ggufOf(model, { dense: "f32" });
    for (const tensor of gguf.tensors.filter(isDenseMatrix)) {
      const values = new Float32Array(new Uint8Array(tensor.bytes).buffer);
      tensor.bytes = new Uint8Array(new Float32Array(change(values)).buffer);
    }
    return gguf;
  }
  const isDenseMatrix = ({ name, shape }: GgufTensor) => shape.length === 2 && !/gate_inp|bias/.test(name);

  it("Q8_0 stays as it is on the CPU: the same bits as the same numbers in Q8 blocks of our own", async () => {
    // Multiples of a power of two up to 127 have the same codes and scale in both, so nothing is lost anywhere.
    const grid = (values: Float32Array) =>
      values.map((value, i) => (i % 32 === 0 ? 127 : Math.max(-127, Math.min(127, Math.round(value * 64)))) / 64);
    const exact = twin(golden.a, grid);
    const q8: Gguf = {
      values: exact.values,
      tensors: exact.tensors.map((tensor) =>
        isDenseMatrix(tensor)
          ? { ...tensor, type: ggmlType.q8_0, bytes: q8Bytes(new Float32Array(new Uint8Array(tensor.bytes).buffer)) }
          : tensor,
      ),
    };
    const file = write(q8);
    expect(await logits(file)).toEqual(await logits(write(exact), { denseWeights: "q8" }));
    await using engine = await Engine.load(file, { backend: "cpu", contextLength: 64 });
    expect(engine.info.denseWeights).toBe("q8");
    expect(engine.info.conversion!.dense).toMatchObject({ changed: 0, relativeRms: 0, largestIn: null });
  });

  it("Q8_0: codes and scales are not quantised again", async () => {
    // The numbers of the file as float32 lose half a bf16 step, the Q8 path of the CPU nothing in exact numerics.
    const file = write(ggufOf(golden.c, { dense: "q8_0" }));
    const blocks = (values: Float32Array) => {
      const bytes = Buffer.from(q8Bytes(values));
      return values.map((_, i) => {
        const at = Math.floor(i / 32) * 34;
        return bytes.readInt8(at + 2 + (i % 32)) * f16Value(bytes.readUInt16LE(at));
      });
    };
    const decoded = write(twin(golden.c, blocks));
    const [q8, bf16] = [await logits(file), await logits(decoded)];
    const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    // A bf16 weight is off by 2^-9 / sqrt(3) at most in rms; through three layers the logits move by about as much.
    expect(norm(q8.map((value, i) => value - bf16[i]!)) / norm(bf16)).toBeLessThan(2 ** -6);
    const { conversion, tensors, stored } = await inspectCheckpoint(file);
    expect(conversion!.dense.changed).toBeGreaterThan(0);
    expect(conversion!.dense.relativeRms).toBeLessThan(2 ** -9);
    expect(tensors.find(({ name }) => name === "lm_head.weight")).toMatchObject({
      dtype: "BF16",
      storedName: "output.weight",
      bytes: 301 * 64 * 2,
    });
    expect(stored.find(({ name }) => name === "output.weight")).toMatchObject({
      dtype: "Q8_0",
      shape: [301, 64],
      bytes: 301 * 64 * (34 / 32),
    });
  });

  it("F16 is rounded to bf16, and what changed is told", async () => {
    const odd = (values: Float32Array) => values.map((value) => value * 1.001);
    const gguf = twin(golden.c, odd);
    const exact = await inspectCheckpoint(write(ggufOf(golden.c, { dense: "f16" })));
    const rounded = await inspectCheckpoint(write(gguf));
    expect(rounded.layout).toBe("gguf");
    const { dense, experts } = rounded.conversion!;
    expect(dense.changed / dense.values).toBeGreaterThan(0.9);
    expect(dense.relativeRms).toBeLessThan(2 ** -9);
    expect(dense.largestIn).toMatch(/weight$/);
    expect(experts.values).toBe(0);
    // bf16 values of usual size are float16 values, except for the smallest: those lost bits in the file already.
    expect(exact.conversion!.dense.relativeRms).toBeLessThan(1e-4);
  });
});

describe("experts as floats in a GGUF file become MXFP4", () => {
  it("with the same bits, when they were MXFP4 before", async () => {
    const file = write(floatExperts(ggufOf(golden.c), { down: "f32", gateAndUp: "f32" }));
    expect(await logits(file)).toEqual(await logits(huggingface("c")));
    const { conversion, tensors, stored } = await inspectCheckpoint(file);
    expect(conversion!.experts).toMatchObject({ changed: 0, relativeRms: 0, largestError: 0 });
    expect(conversion!.experts.values).toBe(3 * 5 * 3 * 64 * 128);
    expect(tensors.find(({ name }) => name.endsWith("0.mlp.experts.down_proj_blocks"))).toMatchObject({ dtype: "U8" });
    expect(stored.find(({ name }) => name === "blk.0.ffn_down_exps.weight")).toMatchObject({
      dtype: "F32",
      shape: [5, 64, 128],
      bytes: 5 * 64 * 128 * 4,
    });
  });
});

describe("what inspect tells", () => {
  it("the layout, the types in the file and the end tokens", async () => {
    const { layout, tensors, stored, model, files, conversion } = await inspectCheckpoint(
      write(ggufOf(golden.c, { ollama: "split" }), "blobs/sha256-0123"),
    );
    expect(layout).toBe("gguf (Ollama)");
    expect(files.map(({ path: file }) => path.basename(file))).toEqual(["sha256-0123"]);
    expect(model).toMatchObject({ vocab: 301, eosTokens: [299, 300], maxContext: 131072 });
    expect(model.rope).toEqual((await inspectCheckpoint(huggingface("c"))).model.rope);
    // The router is float32 in the file, and holds bf16 values.
    expect(conversion).toMatchObject({ dense: { values: 3 * 5 * 64, changed: 0 }, experts: { values: 0 } });
    const gate = tensors.find(({ name }) => name === "model.layers.0.mlp.experts.gate_up_proj_blocks");
    expect(gate).toMatchObject({
      dtype: "U8",
      storedName: "blk.0.ffn_gate_exps.weight + blk.0.ffn_up_exps.weight",
      shape: [5, 256, 2, 16],
    });
    expect(stored.find(({ name }) => name === "blk.0.ffn_gate_exps.weight")).toMatchObject({
      dtype: "MXFP4 (Ollama)",
      bytes: (5 * 128 * 64 * 17) / 32,
    });
    const bytes = stored.reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect(bytes).toBeLessThanOrEqual(files[0]!.bytes);
    expect(bytes).toBeGreaterThan(0.9 * files[0]!.bytes); // beside the header
  });

  it("null for a checkpoint that is read as it is", async () => {
    expect(await inspectCheckpoint(huggingface("c"))).toMatchObject({ conversion: null, stored: [] });
  });
});

describe("a split model", () => {
  function parts(count: number): { gguf: Gguf; name: (part: number) => string; folder: string } {
    const gguf = ggufOf(golden.c);
    const folder = `split-${++files}`;
    const padded = (n: number) => String(n).padStart(5, "0");
    return { gguf, folder, name: (part) => `${folder}/m-${padded(part)}-of-${padded(count)}.gguf` };
  }
  function writeParts({ gguf, name }: ReturnType<typeof parts>, change: (part: number, one: Gguf) => void = () => {}) {
    const third = Math.ceil(gguf.tensors.length / 3);
    return [1, 2, 3].map((part) => {
      const values = new Map<string, GgufValue>(part === 1 ? gguf.values : []);
      values.set("split.no", { type: "u32", value: part - 1 });
      values.set("split.count", { type: "u32", value: 3 });
      values.set("split.tensors.count", { type: "u32", value: gguf.tensors.length });
      const one = { values, tensors: gguf.tensors.slice((part - 1) * third, part * third) };
      change(part, one);
      return write(one, name(part));
    });
  }

  it("loads by its folder and by any part", async () => {
    const model = parts(3);
    const written = writeParts(model);
    const expected = await logits(huggingface("c"));
    for (const named of [path.join(root, model.folder), ...written]) expect(await logits(named)).toEqual(expected);
    const { files } = await inspectCheckpoint(written[1]!);
    expect(files.map(({ path }) => path)).toEqual(written);
  });

  it("is refused without a part, and with a part of another model", async () => {
    const missing = parts(3);
    const written = writeParts(missing);
    rmSync(written[1]!);
    await refused(written[2]!, "MODEL_NOT_FOUND", /expected part 2 of 3 at .*00002-of-00003.gguf, found nothing/);

    const swapped = writeParts(parts(3), (part, { values }) => {
      if (part === 2) values.set("split.no", { type: "u32", value: 2 });
    });
    await refused(swapped[0]!, "MODEL_FORMAT", /split.no: expected part 1 as its name says, found 2/);

    const counted = writeParts(parts(3), (part, { values }) => {
      if (part === 1) values.set("split.tensors.count", { type: "u32", value: 99 });
    });
    await refused(counted[0]!, "MODEL_FORMAT", /split.tensors.count: expected 99 tensors in 3 parts, found 60/);

    const twice = writeParts(parts(3), (part, one) => {
      if (part === 3) one.tensors.push(ggufOf(golden.c).tensors[0]!);
    });
    await refused(twice[0]!, "MODEL_FORMAT", /tensor "token_embd.weight" is in .*00001-of-00003.gguf too/);
  });

  it("is refused under a name that does not lead to its parts", async () => {
    const gguf = ggufOf(golden.c);
    gguf.values.set("split.no", { type: "u32", value: 1 });
    gguf.values.set("split.count", { type: "u32", value: 3 });
    await refused(write(gguf), "MODEL_FORMAT", /part 2 of 3: expected a name that ends in "-00002-of-00003.gguf"/);
  });
});

async function refused(model: string, code: ErrorCode, message: RegExp): Promise<void> {
  const error = await Engine.load(model, { backend: "cpu" }).then(
    (engine) => engine.close().then(() => expect.fail(`${model} loaded`)),
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  expect((error as Error).message).toContain(root);
}

describe("a file that is no gpt-oss model of ours is refused by name", () => {
  const value = (key: string, to: GgufValue | undefined) => (gguf: Gguf) => {
    if (to) gguf.values.set(key, to);
    else gguf.values.delete(key);
  };
  const u32 = (key: string, number: number) => value(key, { type: "u32", value: number });
  const text = (key: string, to: string) => value(key, { type: "string", value: to });
  const tensor = (name: string, change: (tensor: GgufTensor) => void) => (gguf: Gguf) =>
    change(gguf.tensors.find((one) => one.name === name)!);
  const blocks = (type: number, block: number, bytes: number) => (one: GgufTensor) => {
    one.type = type;
    one.bytes = new Uint8Array((one.shape.reduce((product, n) => product * n, 1) / block) * bytes);
  };
  const remove = (name: string) => (gguf: Gguf) => {
    gguf.tensors = gguf.tensors.filter((one) => one.name !== name);
  };
  const rows: [string, (gguf: Gguf) => void, ErrorCode, RegExp][] = [
    ["another architecture", text("general.architecture", "llama"), "UNSUPPORTED", /not a gpt-oss model: "llama"/],
    [
      "no architecture",
      value("general.architecture", undefined),
      "MODEL_FORMAT",
      /general.architecture: .*found nothing/,
    ],
    ["no layers", u32("gpt-oss.block_count", 0), "MODEL_FORMAT", /gpt-oss.block_count: .*found 0 \(u32\)/],
    ["text for a number", text("gpt-oss.block_count", "3"), "MODEL_FORMAT", /block_count: .*found "3" \(string\)/],
    ["4 billion layers", u32("gpt-oss.block_count", 2 ** 32 - 1), "MODEL_FORMAT", /block_count: .*found 4294967295/],
    [
      "more layers than there are",
      u32("gpt-oss.block_count", 4),
      "MODEL_FORMAT",
      /expected a tensor "blk.3.attn_norm.weight"/,
    ],
    [
      "fewer layers than there are",
      u32("gpt-oss.block_count", 2),
      "MODEL_FORMAT",
      /"blk.2.attn_.*no gpt-oss tensor of this name/,
    ],
    [
      "another width",
      u32("gpt-oss.embedding_length", 96),
      "MODEL_SHAPE",
      /token_embd.weight": expected shape \[301, 96\], found \[301, 64\]/,
    ],
    [
      "another count of experts",
      u32("gpt-oss.expert_count", 6),
      "MODEL_SHAPE",
      /expected shape \[6, 64\], found \[5, 64\]/,
    ],
    [
      "no epsilon",
      value("gpt-oss.attention.layer_norm_rms_epsilon", undefined),
      "MODEL_FORMAT",
      /rms_epsilon: expected a number, found nothing/,
    ],
    ["another RoPE", text("gpt-oss.rope.scaling.type", "linear"), "UNSUPPORTED", /expected "yarn", found "linear"/],
    [
      "no RoPE scaling named",
      value("gpt-oss.rope.scaling.type", undefined),
      "UNSUPPORTED",
      /expected "yarn", found nothing/,
    ],
    [
      "another attention factor",
      value("gpt-oss.rope.scaling.attn_factor", { type: "f32", value: 2 }),
      "UNSUPPORTED",
      /attn_factor: expected 1, found 2/,
    ],
    [
      "values of another width",
      u32("gpt-oss.attention.value_length", 32),
      "UNSUPPORTED",
      /value_length: expected attention.key_length = 64, found 32/,
    ],
    [
      "a vocabulary of another length",
      value("tokenizer.ggml.tokens", { type: "strings", value: ["a"] }),
      "MODEL_FORMAT",
      /tokens: expected 301 tokens, .*found 1/,
    ],
    [
      "another tokenizer",
      text("tokenizer.ggml.model", "llama"),
      "UNSUPPORTED",
      /tokenizer.ggml.model: expected "gpt2"/,
    ],
    [
      "another pre-tokenizer",
      text("tokenizer.ggml.pre", "qwen2"),
      "UNSUPPORTED",
      /tokenizer.ggml.pre: expected "gpt-4o".*found "qwen2"/,
    ],
    [
      "an end token past the vocabulary",
      u32("tokenizer.ggml.eos_token_id", 301),
      "MODEL_FORMAT",
      /ids below vocab_size = 301, found 301/,
    ],
    [
      "a tensor missing",
      remove("blk.1.attn_sinks.weight"),
      "MODEL_FORMAT",
      /expected a tensor "blk.1.attn_sinks.weight" of shape \[4\], found none/,
    ],
    [
      "a tensor too many",
      (gguf) => gguf.tensors.push({ name: "x", type: 0, shape: [1], bytes: new Uint8Array(4) }),
      "MODEL_FORMAT",
      /"x": no gpt-oss tensor of this name/,
    ],
    [
      "experts in Q4_K",
      tensor("blk.1.ffn_up_exps.weight", (one) => {
        one.shape = [5, 32, 256];
        blocks(ggmlType.q4_K, 256, 144)(one);
      }),
      "MODEL_SHAPE",
      /blk.1.ffn_up_exps.weight": expected shape/,
    ],
    [
      "experts in Q4_0",
      tensor("blk.1.ffn_up_exps.weight", blocks(2, 32, 18)),
      "UNSUPPORTED",
      /"blk.1.ffn_up_exps.weight": expected MXFP4, .*found Q4_0; use a file whose experts are MXFP4/,
    ],
    [
      "experts in Q8_0",
      tensor("blk.0.ffn_gate_exps.weight", blocks(ggmlType.q8_0, 32, 34)),
      "UNSUPPORTED",
      /"blk.0.ffn_gate_exps.weight": .*found Q8_0/,
    ],
    [
      "experts in NVFP4",
      tensor("blk.2.ffn_down_exps.weight", blocks(ggmlType.nvfp4, 64, 36)),
      "UNSUPPORTED",
      /"blk.2.ffn_down_exps.weight": .*found NVFP4/,
    ],
    ["experts in IQ4_NL", tensor("blk.2.ffn_down_exps.weight", blocks(20, 32, 18)), "UNSUPPORTED", /found IQ4_NL/],
    [
      "a dense matrix in Q5_1",
      tensor("output.weight", blocks(7, 32, 24)),
      "UNSUPPORTED",
      /"output.weight": expected F32, F16, BF16 or Q8_0 for a dense weight, found Q5_1/,
    ],
    [
      "a bias in Q8_0",
      tensor("blk.0.attn_q.bias", blocks(ggmlType.q8_0, 32, 34)),
      "UNSUPPORTED",
      /"blk.0.attn_q.bias": expected F32, F16 or BF16 for a vector, found Q8_0/,
    ],
    [
      "a dense matrix in MXFP4",
      tensor("output.weight", blocks(ggmlType.mxfp4, 32, 17)),
      "UNSUPPORTED",
      /"output.weight": .*found MXFP4/,
    ],
    [
      "an unknown type",
      tensor("output.weight", (one) => {
        one.type = 250;
      }),
      "UNSUPPORTED",
      /"output.weight": its type 250 is not known/,
    ],
    [
      "a scale of 255",
      tensor("blk.1.ffn_up_exps.weight", (one) => {
        one.bytes[17 * 2 * 3] = 255;
      }),
      "MODEL_FORMAT",
      /"blk.1.ffn_up_exps.weight": expert 0, row 3, block 0: expected a scale in \[2, 252\], found 255/,
    ],
    [
      "an infinite Q8_0 scale",
      tensor("output.weight", (one) => {
        blocks(8, 32, 34)(one);
        one.bytes[1] = 0x7c;
      }),
      "MODEL_FORMAT",
      /"output.weight": block 0: expected a finite Q8_0 scale, found inf/,
    ],
    [
      "experts with a NaN",
      tensor("blk.0.ffn_down_exps.weight", (one) => {
        blocks(0, 1, 4)(one);
        new DataView(one.bytes.buffer).setFloat32(4 * 33, Number.NaN, true);
      }),
      "MODEL_FORMAT",
      /"blk.0.ffn_down_exps.weight": expert 0, output 0, inputs 32 to 63: expected finite weights/,
    ],
  ];
  it.each(rows)("%s", async (_name, damage, code, message) => {
    const gguf = ggufOf(golden.c);
    damage(gguf);
    await refused(write(gguf), code, message);
  });

  it("a full vocabulary of which one token differs, while o200k_harmony itself is taken", async () => {
    const gguf = ggufOf(golden.c);
    const vocab = 201088;
    for (const name of ["token_embd.weight", "output.weight"]) {
      tensor(name, (one) => {
        one.shape = [vocab, 64];
        one.bytes = new Uint8Array(vocab * 64 * 2);
      })(gguf);
    }
    const tokens = Array.from({ length: vocab }, (_, id) => printable(tokenizer.decodeBytes([id])));
    gguf.values.set("tokenizer.ggml.tokens", { type: "strings", value: tokens });
    gguf.values.set("tokenizer.ggml.eos_token_id", { type: "u32", value: 200002 });
    const { model } = await inspectCheckpoint(write(gguf));
    expect(model).toMatchObject({ vocab, eosTokens: [200002] });
    tokens[200006] = "<start>";
    await refused(write(gguf), "UNSUPPORTED", /tokens: token 200006: expected "<\|start\|>" .*, found "<start>"/);
    tokens[1009] = "x";
    await refused(
      write(gguf),
      "UNSUPPORTED",
      /tokens: token 1009: expected .* of the vocabulary o200k_harmony, found "x"/,
    );
  });

  it("a folder with two models", async () => {
    const folder = path.join(root, "two");
    write(ggufOf(golden.c), "two/a.gguf");
    write(ggufOf(golden.c), "two/b.gguf");
    await refused(folder, "MODEL_FORMAT", /expected one model, found "a.gguf" and "b.gguf"; name the file/);
  });

  it("two names for one tensor", async () => {
    const gguf = ggufOf(golden.c);
    gguf.tensors.push({
      ...gguf.tensors.find(({ name }) => name === "blk.0.attn_sinks.weight")!,
      name: "blk.0.attn_sinks",
    });
    await refused(write(gguf), "MODEL_FORMAT", /"blk.0.attn_sinks": no gpt-oss tensor of this name/);
  });

  it("biases of gate and up of two types", async () => {
    const gguf = ggufOf(golden.c);
    tensor("blk.0.ffn_up_exps.bias", (one) => {
      one.type = ggmlType.bf16;
      one.bytes = one.bytes.subarray(0, one.bytes.length / 2);
    })(gguf);
    await refused(
      write(gguf),
      "UNSUPPORTED",
      /"blk.0.ffn_up_exps.bias": expected F32 as "blk.0.ffn_gate_exps.bias", found BF16/,
    );
  });
});
