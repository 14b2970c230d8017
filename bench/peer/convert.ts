import { readFileSync } from "node:fs";
import path from "node:path";
import { firstSpecialToken } from "../../lib/tokenizer/special-tokens.js";
import { tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { type GgmlType, type GgufTensor, type GgufValue, writeGguf } from "./gguf.js";
import { Checkpoint } from "./safetensors.js";

/**
 * Writes a checkpoint of the Hugging Face layout as a GGUF for llama.cpp. All bits are the same, except in the dense
 * matrices of a Q8_0 file. Norms, biases, sinks and the router are float32 there, as llama.cpp requires.
 */

/** The type of embedding, attention and head. F32 is for --check: the same values without rounding of activations. */
export type DenseType = "bf16" | "q8_0" | "f32";

/** The source of each tensor of a GGUF; `rows`: every second row (0: gate, 1: up) of an interleaved one. */
export interface Source {
  name: string;
  type: GgmlType;
  from: string;
  rows?: 0 | 1;
}

const chunkBytes = 1 << 22;

export function convertToGguf(folder: string, file: string, dense: DenseType): void {
  using checkpoint = new Checkpoint(folder);
  const config = JSON.parse(readFileSync(path.join(folder, "config.json"), "utf8")) as Record<string, number>;
  const tensors = sources(config.num_hidden_layers!, dense).map((source) => tensorOf(checkpoint, source));
  writeGguf(file, metadata(config, path.basename(file, ".gguf")), tensors);
}

export function sources(layers: number, dense: DenseType): Source[] {
  return [
    { name: "token_embd.weight", type: dense, from: "model.embed_tokens.weight" },
    ...Array.from({ length: layers }, (_, n) => layerSources(n, dense)).flat(),
    { name: "output_norm.weight", type: "f32", from: "model.norm.weight" },
    { name: "output.weight", type: dense, from: "lm_head.weight" },
  ];
}

function layerSources(n: number, dense: DenseType): Source[] {
  const to = `blk.${n}.`;
  const from = `model.layers.${n}.`;
  const attention = { q: "attn_q", k: "attn_k", v: "attn_v", o: "attn_output" };
  const experts = `${from}mlp.experts.`;
  return [
    { name: `${to}attn_norm.weight`, type: "f32", from: `${from}input_layernorm.weight` },
    { name: `${to}post_attention_norm.weight`, type: "f32", from: `${from}post_attention_layernorm.weight` },
    ...Object.entries(attention).flatMap(([letter, name]): Source[] => [
      { name: `${to}${name}.weight`, type: dense, from: `${from}self_attn.${letter}_proj.weight` },
      { name: `${to}${name}.bias`, type: "f32", from: `${from}self_attn.${letter}_proj.bias` },
    ]),
    { name: `${to}attn_sinks.weight`, type: "f32", from: `${from}self_attn.sinks` },
    { name: `${to}ffn_gate_inp.weight`, type: "f32", from: `${from}mlp.router.weight` },
    { name: `${to}ffn_gate_inp.bias`, type: "f32", from: `${from}mlp.router.bias` },
    { name: `${to}ffn_gate_exps.weight`, type: "mxfp4", from: `${experts}gate_up_proj`, rows: 0 },
    { name: `${to}ffn_up_exps.weight`, type: "mxfp4", from: `${experts}gate_up_proj`, rows: 1 },
    { name: `${to}ffn_down_exps.weight`, type: "mxfp4", from: `${experts}down_proj` },
    { name: `${to}ffn_gate_exps.bias`, type: "f32", from: `${experts}gate_up_proj_bias`, rows: 0 },
    { name: `${to}ffn_up_exps.bias`, type: "f32", from: `${experts}gate_up_proj_bias`, rows: 1 },
    { name: `${to}ffn_down_exps.bias`, type: "f32", from: `${experts}down_proj_bias` },
  ];
}

function tensorOf(checkpoint: Checkpoint, { name, type, from, rows }: Source): GgufTensor {
  if (type === "mxfp4") {
    const [experts, height, blocks] = checkpoint.tensor(`${from}_scales`).shape as [number, number, number];
    return {
      name,
      type,
      shape: [experts, rows === undefined ? height : height / 2, 32 * blocks],
      *chunks() {
        for (let e = 0; e < experts; e++) {
          const size = height * blocks;
          const nibbles = checkpoint.read(`${from}_blocks`, e * size * 16, size * 16);
          const scales = checkpoint.read(`${from}_scales`, e * size, size);
          yield ggmlExpert(nibbles, scales, blocks, rows);
        }
      },
    };
  }
  const { shape, bytes } = checkpoint.tensor(from);
  if (rows !== undefined) {
    return {
      name,
      type,
      shape: [shape[0]!, shape[1]! / 2],
      *chunks() {
        const all = bf16ToFloats(checkpoint.read(from));
        yield bytesOf(all.filter((_, i) => i % 2 === rows));
      },
    };
  }
  return {
    name,
    type,
    shape,
    *chunks() {
      for (let at = 0; at < bytes; at += chunkBytes) {
        const piece = checkpoint.read(from, at, Math.min(chunkBytes, bytes - at));
        if (type === "bf16") yield piece;
        else yield type === "f32" ? bytesOf(bf16ToFloats(piece)) : quantizeQ8(bf16ToFloats(piece));
      }
    },
  };
}

/** One expert: safetensors' nibbles are elements 2j and 2j + 1 of byte j, ggml's are elements j and j + 16. */
function ggmlExpert(
  nibbles: Uint8Array,
  scales: Uint8Array,
  blocksPerRow: number,
  rows: 0 | 1 | undefined,
): Uint8Array {
  const step = rows === undefined ? 1 : 2;
  const height = scales.length / blocksPerRow;
  const out = new Uint8Array((17 * scales.length) / step);
  let to = 0;
  for (let row = rows ?? 0; row < height; row += step) {
    for (let block = row * blocksPerRow; block < (row + 1) * blocksPerRow; block++) {
      out[to++] = scales[block]!;
      for (let from = 16 * block; from < 16 * block + 8; from++) {
        const low = nibbles[from]!; // elements 0 .. 15 are in the first 8 bytes
        const high = nibbles[from + 8]!;
        out[to++] = (low & 15) | ((high & 15) << 4);
        out[to++] = (low >>> 4) | (high & 0xf0);
      }
    }
  }
  return out;
}

/** Blocks of 32: scale max|x| / 127 as float16, values rounded half away from zero, as ggml does. */
function quantizeQ8(values: Float32Array): Uint8Array {
  const out = new Uint8Array((values.length / 32) * 34);
  const view = new DataView(out.buffer);
  for (let from = 0, to = 0; from < values.length; from += 32, to += 34) {
    let greatest = 0;
    for (let i = from; i < from + 32; i++) greatest = Math.max(greatest, Math.abs(values[i]!));
    const scale = Math.fround(greatest / 127);
    const inverse = scale > 0 ? Math.fround(1 / scale) : 0;
    view.setUint16(to, float16(scale), true);
    for (let i = 0; i < 32; i++) {
      const x = Math.fround(values[from + i]! * inverse);
      out[to + 2 + i] = x < 0 ? -Math.round(-x) : Math.round(x);
    }
  }
  return out;
}

/** Bits of the nearest float16 of a number in [0, 65504], ties to even. */
function float16(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.max(-14, Math.floor(Math.log2(value)));
  const steps = value / 2 ** (exponent - 10); // 1024 .. 2048, less for subnormals
  const down = Math.floor(steps);
  const rest = steps - down;
  const rounded = down + (rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? 1 : 0);
  return ((exponent + 14) << 10) + rounded; // a carry into 2048 is the next exponent
}

function bf16ToFloats(bytes: Buffer): Float32Array {
  const bits = new Uint32Array(bytes.length / 2);
  for (let i = 0; i < bits.length; i++) bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
  return new Float32Array(bits.buffer);
}

function bytesOf(floats: Float32Array): Uint8Array {
  return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
}

function metadata(c: Record<string, number>, name: string): Record<string, GgufValue> {
  return {
    "general.architecture": "gpt-oss",
    "general.type": "model",
    "general.name": name,
    "general.quantization_version": 2,
    "gpt-oss.block_count": c.num_hidden_layers!,
    "gpt-oss.context_length": c.max_position_embeddings!,
    "gpt-oss.embedding_length": c.hidden_size!,
    "gpt-oss.feed_forward_length": c.intermediate_size!,
    "gpt-oss.expert_feed_forward_length": c.intermediate_size!,
    "gpt-oss.expert_count": c.num_local_experts!,
    "gpt-oss.expert_used_count": c.num_experts_per_tok!,
    "gpt-oss.attention.head_count": c.num_attention_heads!,
    "gpt-oss.attention.head_count_kv": c.num_key_value_heads!,
    "gpt-oss.attention.key_length": c.head_dim!,
    "gpt-oss.attention.value_length": c.head_dim!,
    "gpt-oss.attention.sliding_window": c.sliding_window!,
    "gpt-oss.attention.layer_norm_rms_epsilon": { float: c.rms_norm_eps! },
    "gpt-oss.rope.freq_base": { float: c.rope_theta! },
    "gpt-oss.rope.scaling.type": "yarn",
    "gpt-oss.rope.scaling.factor": { float: 32 },
    "gpt-oss.rope.scaling.original_context_length": c.initial_context_length!,
    ...vocabulary(c.vocab_size!, c.eos_token_id!, c.pad_token_id!),
  };
}

const fullVocabulary = 201_088;

/**
 * The full vocabulary is o200k_harmony itself. A smaller one has the single bytes in GPT-2's letters, then names that no
 * text contains. One merge is enough for llama.cpp: prompts are token ids here, so nothing is encoded.
 */
function vocabulary(vocab: number, end: number, pad: number): Record<string, GgufValue> {
  const normal = 1;
  const control = 3;
  const isFull = vocab === fullVocabulary;
  const ordinary = isFull ? firstSpecialToken : 256;
  const tokenOf = (id: number) => {
    if (isFull) return [...tokenizer.decodeBytes([id])].map(byteLetter).join("");
    return id < 256 ? byteLetter(id) : `<|${id}|>`;
  };
  const tokens = Array.from({ length: vocab }, (_, id) => tokenOf(id));
  const types = Int32Array.from(tokens, (_, id) => (id < ordinary ? normal : control));
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-4o",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": [`${tokens[97]} ${tokens[98]}`],
    "tokenizer.ggml.bos_token_id": end,
    "tokenizer.ggml.eos_token_id": end,
    "tokenizer.ggml.padding_token_id": pad,
  };
}

/** GPT-2 writes bytes without a visible Latin-1 character as the characters from 256 on. */
const byteLetters: string[] = [];
let hidden = 0;
for (let byte = 0; byte < 256; byte++) {
  const visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  byteLetters.push(String.fromCodePoint(visible ? byte : 256 + hidden++));
}

function byteLetter(byte: number): string {
  return byteLetters[byte]!;
}
