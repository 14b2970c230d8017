import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { SafetensorsFile } from "./safetensors.js";

/**
 * Writes GGUF files from a golden model, after the description of the format and llama.cpp's converter. It shares nothing
 * with the reader in native/loader, so that a test compares two readings of the format.
 */

export type GgufValue =
  | { type: "u32" | "i32" | "f32" | "bool"; value: number }
  | { type: "string"; value: string }
  | { type: "strings"; value: readonly string[] }
  | { type: "i32s"; value: readonly number[] };

export interface GgufTensor {
  name: string;
  /** Id of the element type. */
  type: number;
  /** The slowest dimension first. */
  shape: readonly number[];
  bytes: Uint8Array;
}

export interface Gguf {
  values: Map<string, GgufValue>;
  tensors: GgufTensor[];
}

export const ggmlType = { f32: 0, f16: 1, oldMxfp4: 4, q8_0: 8, q4_K: 12, bf16: 30, mxfp4: 39, nvfp4: 40 } as const;

const u32 = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number): Buffer => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string): Buffer[] => [u64(Buffer.byteLength(value)), Buffer.from(value)];

function valueBytes(value: GgufValue): Buffer[] {
  switch (value.type) {
    case "u32":
      return [u32(4), u32(value.value)];
    case "i32":
      return [u32(5), Buffer.from(Int32Array.of(value.value).buffer)];
    case "f32":
      return [u32(6), Buffer.from(Float32Array.of(value.value).buffer)];
    case "bool":
      return [u32(7), Buffer.of(value.value)];
    case "string":
      return [u32(8), ...text(value.value)];
    case "strings":
      return [u32(9), u32(8), u64(value.value.length), ...value.value.flatMap(text)];
    case "i32s":
      return [u32(9), u32(5), u64(value.value.length), Buffer.from(Int32Array.from(value.value).buffer)];
  }
}

/** The bytes of a file. */
export function ggufBytes({ values, tensors }: Gguf, version = 3, alignment = 32): Buffer {
  const padding = (bytes: number) => Buffer.alloc((alignment - (bytes % alignment)) % alignment);
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const { name, type, shape, bytes } of tensors) {
    infos.push(...text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(type), u64(offset));
    const padded = [Buffer.from(bytes), padding(bytes.length)];
    data.push(...padded);
    offset += padded[0]!.length + padded[1]!.length;
  }
  const header = Buffer.concat([
    Buffer.from("GGUF"),
    u32(version),
    u64(tensors.length),
    u64(values.size),
    ...[...values].flatMap(([key, value]) => [...text(key), ...valueBytes(value)]),
    ...infos,
  ]);
  return Buffer.concat([header, padding(header.length), ...data]);
}

/** A golden model: its config, and its tensors by name. */
export class GoldenModel {
  readonly config: Record<string, number> & { rope_scaling: Record<string, number> };
  readonly tensors = new Map<string, { dtype: string; shape: readonly number[]; bytes: Uint8Array }>();

  constructor(name: "a" | "b" | "c") {
    const folder = path.resolve("test/golden/models", name);
    this.config = JSON.parse(readFileSync(path.join(folder, "config.json"), "utf8"));
    for (const file of readdirSync(folder).filter((file) => file.endsWith(".safetensors"))) {
      const shard = new SafetensorsFile(path.join(folder, file));
      for (const [tensor, { dtype, shape }] of shard.tensors) {
        this.tensors.set(tensor, { dtype, shape, bytes: shard.bytes(tensor) });
      }
    }
  }

  get(name: string): { shape: readonly number[]; bytes: Uint8Array } {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`no tensor ${name}`);
    return tensor;
  }

  /** A BF16 tensor as numbers. */
  values(name: string): Float32Array {
    return widened(this.get(name).bytes);
  }
}

/** bf16 → float32. */
export function widened(bytes: Uint8Array): Float32Array {
  const bits = new Uint16Array(new Uint8Array(bytes).buffer);
  return new Float32Array(Uint32Array.from(bits, (b) => b << 16).buffer);
}

/** float32 → float16 to nearest, ties to even, for magnitudes below 65504. */
export function f16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude < 2 ** -14) return sign | roundEven(magnitude * 2 ** 24);
  const exponent = Math.floor(Math.log2(magnitude));
  const whole = roundEven(magnitude * 2 ** (10 - exponent)); // 1024 .. 2048
  return sign | ((((exponent + 15) << 10) + (whole - 1024)) & 0x7fff);
}

function roundEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

export function f16Value(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
}

/** ggml's Q8_0: for each 32 values a float16 scale, the greatest magnitude / 127, and 32 int8. */
export function q8Bytes(values: Float32Array): Uint8Array {
  const out = Buffer.alloc((values.length / 32) * 34);
  for (let block = 0; block < values.length / 32; block++) {
    const x = values.subarray(block * 32, block * 32 + 32);
    const scale = Math.max(...x.map(Math.abs)) / 127;
    out.writeUInt16LE(f16Bits(scale), block * 34);
    for (const [i, value] of x.entries()) {
      out.writeInt8(scale === 0 ? 0 : Math.sign(value) * Math.round(Math.abs(value) / scale), block * 34 + 2 + i);
    }
  }
  return out;
}

type FloatType = "bf16" | "f32" | "f16";
export type DenseType = FloatType | "q8_0";

function denseTensor(name: string, shape: readonly number[], values: Float32Array, type: DenseType): GgufTensor {
  const bytes = {
    f32: () => Buffer.from(new Float32Array(values).buffer),
    bf16: () => Buffer.from(Uint16Array.from(new Uint32Array(new Float32Array(values).buffer), (b) => b >>> 16).buffer),
    f16: () => Buffer.from(Uint16Array.from(values, f16Bits).buffer),
    q8_0: () => q8Bytes(values),
  }[type]();
  return { name, type: ggmlType[type], shape, bytes };
}

/** 16 bytes with elements 2j and 2j + 1 → 16 bytes with elements j and j + 16. */
function halves(pairs: Uint8Array): Uint8Array {
  const nibbles = [...pairs].flatMap((byte) => [byte & 15, byte >> 4]);
  return Uint8Array.from({ length: 16 }, (_, j) => nibbles[j]! | (nibbles[j + 16]! << 4));
}

export interface GgufOptions {
  dense?: DenseType;
  /** The names and metadata of Ollama: of its files until 2026, or of its first version, with fused tensors. */
  ollama?: "split" | "fused";
}

/** The model as GGUF. */
export function ggufOf(model: GoldenModel, { dense = "bf16", ollama }: GgufOptions = {}): Gguf {
  const { config } = model;
  const prefix = ollama ? "gptoss" : "gpt-oss";
  const n = (key: string): GgufValue => ({ type: "u32", value: config[key]! });
  const f = (value: number): GgufValue => ({ type: "f32", value });
  const vocab = config.vocab_size!;
  const values = new Map<string, GgufValue>([
    ["general.architecture", { type: "string", value: prefix }],
    [`${prefix}.block_count`, n("num_hidden_layers")],
    [`${prefix}.context_length`, n("max_position_embeddings")],
    [`${prefix}.embedding_length`, n("hidden_size")],
    [`${prefix}.feed_forward_length`, n("intermediate_size")],
    [`${prefix}.attention.head_count`, n("num_attention_heads")],
    [`${prefix}.attention.head_count_kv`, n("num_key_value_heads")],
    [`${prefix}.attention.key_length`, n("head_dim")],
    [`${prefix}.attention.value_length`, n("head_dim")],
    [`${prefix}.attention.layer_norm_rms_epsilon`, f(config.rms_norm_eps!)],
    [`${prefix}.attention.sliding_window`, n("sliding_window")],
    [`${prefix}.expert_count`, n("num_local_experts")],
    [`${prefix}.expert_used_count`, n("num_experts_per_tok")],
    [`${prefix}.rope.freq_base`, f(config.rope_theta!)],
    [`${prefix}.rope.scaling.factor`, f(config.rope_scaling.factor!)],
    [
      `${prefix}.rope.scaling.original_context_length`,
      { type: "u32", value: config.rope_scaling.original_max_position_embeddings! },
    ],
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.tokens", { type: "strings", value: Array.from({ length: vocab }, (_, id) => `t${id}`) }],
    ["tokenizer.ggml.eos_token_id", n("eos_token_id")],
  ]);
  if (ollama) {
    values.set("tokenizer.ggml.pre", { type: "string", value: "default" });
    values.set("tokenizer.ggml.eos_token_ids", { type: "i32s", value: [config.eos_token_id!, vocab - 1] });
  } else {
    values.set("tokenizer.ggml.pre", { type: "string", value: "gpt-4o" });
    values.set("gpt-oss.rope.scaling.type", { type: "string", value: "yarn" });
    values.set("gpt-oss.expert_feed_forward_length", n("intermediate_size"));
  }
  return { values, tensors: tensorsOf(model, dense, ollama) };
}

function tensorsOf(model: GoldenModel, type: DenseType, ollama: GgufOptions["ollama"]): GgufTensor[] {
  const out: GgufTensor[] = [];
  const names = ollama
    ? { output: "attn_out", sinks: "attn_sinks", norm: "ffn_norm" }
    : { output: "attn_output", sinks: "attn_sinks.weight", norm: "post_attention_norm" };
  const dense = (name: string, from: string, kind: DenseType) =>
    out.push(denseTensor(name, model.get(from).shape, model.values(from), kind));
  dense("token_embd.weight", "model.embed_tokens.weight", type);
  dense("output_norm.weight", "model.norm.weight", "f32");
  dense("output.weight", "lm_head.weight", type);
  for (let layer = 0; layer < model.config.num_hidden_layers!; layer++) {
    const from = `model.layers.${layer}.`;
    const to = `blk.${layer}.`;
    dense(`${to}attn_norm.weight`, `${from}input_layernorm.weight`, "f32");
    dense(`${to}${names.norm}.weight`, `${from}post_attention_layernorm.weight`, "f32");
    dense(`${to}${names.output}.weight`, `${from}self_attn.o_proj.weight`, type);
    dense(`${to}${names.output}.bias`, `${from}self_attn.o_proj.bias`, "f32");
    dense(`${to}${names.sinks}`, `${from}self_attn.sinks`, "f32");
    dense(`${to}ffn_gate_inp.weight`, `${from}mlp.router.weight`, "f32");
    dense(`${to}ffn_gate_inp.bias`, `${from}mlp.router.bias`, "f32");
    for (const part of ["weight", "bias"]) {
      const kind = part === "weight" ? type : "f32";
      if (ollama === "fused") {
        const heads = ["q", "k", "v"].map((head) => `${from}self_attn.${head}_proj.${part}`);
        const values = Float32Array.from(heads.flatMap((name) => [...model.values(name)]));
        const rows = heads.reduce((sum, name) => sum + model.get(name).shape[0]!, 0);
        out.push(denseTensor(`${to}attn_qkv.${part}`, [rows, ...model.get(heads[0]!).shape.slice(1)], values, kind));
      } else {
        for (const head of ["q", "k", "v"]) {
          dense(`${to}attn_${head}.${part}`, `${from}self_attn.${head}_proj.${part}`, kind);
        }
      }
    }
    const experts = `${from}mlp.experts.`;
    const old = ollama !== undefined;
    out.push(expertTensor(model, `${to}ffn_down_exps.weight`, `${experts}down_proj`, 1, 0, old));
    dense(`${to}ffn_down_exps.bias`, `${experts}down_proj_bias`, "f32");
    if (ollama === "fused") {
      out.push(expertTensor(model, `${to}ffn_gate_up_exps.weight`, `${experts}gate_up_proj`, 1, 0, old));
      dense(`${to}ffn_gate_up_exps.bias`, `${experts}gate_up_proj_bias`, "bf16"); // as the first files have it
      continue;
    }
    for (const [i, name] of [`${to}ffn_gate_exps`, `${to}ffn_up_exps`].entries()) {
      out.push(expertTensor(model, `${name}.weight`, `${experts}gate_up_proj`, 2, i, old));
      const bias = model.get(`${experts}gate_up_proj_bias`);
      const own = model.values(`${experts}gate_up_proj_bias`).filter((_, at) => at % 2 === i);
      out.push(denseTensor(`${name}.bias`, [bias.shape[0]!, bias.shape[1]! / 2], own, "f32"));
    }
  }
  return out;
}

/** Every `step`-th row of the experts, from `first` on. */
function expertTensor(
  model: GoldenModel,
  name: string,
  from: string,
  step: number,
  first: number,
  old: boolean,
): GgufTensor {
  const blocks = model.get(`${from}_blocks`);
  const scales = model.get(`${from}_scales`).bytes;
  const [experts, rows, groups] = blocks.shape as [number, number, number];
  const parts: Uint8Array[] = [];
  for (let row = first; row < experts * rows; row += step) {
    for (let block = row * groups; block < (row + 1) * groups; block++) {
      const pairs = blocks.bytes.subarray(block * 16, block * 16 + 16);
      parts.push(scales.subarray(block, block + 1), old ? pairs : halves(pairs));
    }
  }
  const type = old ? ggmlType.oldMxfp4 : ggmlType.mxfp4;
  return { name, type, shape: [experts, rows / step, groups * 32], bytes: Buffer.concat(parts) };
}

/** The same file, where its experts in MXFP4 are floats. */
export function floatExperts(gguf: Gguf, { down, gateAndUp }: Record<"down" | "gateAndUp", FloatType>): Gguf {
  const tensors = gguf.tensors.map((tensor) => {
    if (tensor.type !== ggmlType.mxfp4) return tensor;
    const type = tensor.name.includes("ffn_down") ? down : gateAndUp;
    return denseTensor(tensor.name, tensor.shape, decodedMxfp4(tensor.bytes), type);
  });
  return { ...gguf, tensors };
}

function decodedMxfp4(bytes: Uint8Array): Float32Array {
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const value = (code: number) => (code & 8 ? -1 : 1) * magnitudes[code & 7]!;
  const out = new Float32Array((bytes.length / 17) * 32);
  for (let i = 0; i < out.length; i++) {
    const block = Math.floor(i / 32) * 17;
    const byte = bytes[block + 1 + (i % 16)]!;
    out[i] = value(i % 32 < 16 ? byte & 15 : byte >> 4) * 2 ** (bytes[block]! - 127);
  }
  return out;
}

const printableBytes = new Set(
  [
    [33, 126],
    [161, 172],
    [174, 255],
  ].flatMap(([first, last]) => Array.from({ length: last! - first! + 1 }, (_, i) => first! + i)),
);
const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printableBytes.has(byte));

/** GPT-2's text for the bytes of a token: bytes that are no printable Latin-1 character become U+0100 and on. */
export function printable(bytes: Uint8Array): string {
  return String.fromCharCode(
    ...[...bytes].map((byte) => (printableBytes.has(byte) ? byte : 256 + others.indexOf(byte))),
  );
}
