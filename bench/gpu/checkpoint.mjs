// Writes a checkpoint with a released model's shape and size, to measure a load. It has the Hugging Face layout and is
// written at the disk's speed. Run by check.mjs:
//
//   node bench/gpu/checkpoint.mjs 20b FOLDER…
//
// It uses a new folder below the first FOLDER that has room for it, and prints that folder. Every tensor repeats the
// same 64 MB of random bytes. The bytes are between 0x38 and 0x3d. So every bf16 is between 4e-5 and 0.05, every MXFP4
// scale is valid, and the model can run. Its output has no meaning.
import { closeSync, mkdtempSync, openSync, statfsSync, writeFileSync, writeSync } from "node:fs";
import { freemem } from "node:os";
import path from "node:path";

const shape = { hidden: 2880, intermediate: 2880, heads: 64, kvHeads: 8, headDim: 64, vocab: 201088 };
const shapes = {
  tiny: { ...shape, hidden: 96, intermediate: 96, heads: 16, kvHeads: 2, vocab: 512, layers: 4, experts: 8 },
  "20b": { ...shape, layers: 24, experts: 32 },
  "120b": { ...shape, layers: 36, experts: 128 },
};
const shardBytes = 4.8e9; // as in the released checkpoints

function tensors({ layers, hidden, intermediate, heads, kvHeads, headDim, experts, vocab }) {
  const q = heads * headDim;
  const kv = kvHeads * headDim;
  const projection = (name, rows, columns) => ({
    [`${name}.weight`]: ["BF16", [rows, columns]],
    [`${name}.bias`]: ["BF16", [rows]],
  });
  const packed = (name, rows, columns) => ({
    [`mlp.experts.${name}_blocks`]: ["U8", [experts, rows, columns / 32, 16]],
    [`mlp.experts.${name}_scales`]: ["U8", [experts, rows, columns / 32]],
    [`mlp.experts.${name}_bias`]: ["BF16", [experts, rows]],
  });
  const ofLayer = {
    "input_layernorm.weight": ["BF16", [hidden]],
    ...projection("self_attn.q_proj", q, hidden),
    ...projection("self_attn.k_proj", kv, hidden),
    ...projection("self_attn.v_proj", kv, hidden),
    "self_attn.sinks": ["BF16", [heads]],
    ...projection("self_attn.o_proj", hidden, q),
    "post_attention_layernorm.weight": ["BF16", [hidden]],
    ...projection("mlp.router", experts, hidden),
    ...packed("gate_up_proj", 2 * intermediate, hidden),
    ...packed("down_proj", hidden, intermediate),
  };
  const named = {
    "model.embed_tokens.weight": ["BF16", [vocab, hidden]],
    "model.norm.weight": ["BF16", [hidden]],
    "lm_head.weight": ["BF16", [vocab, hidden]],
  };
  for (let layer = 0; layer < layers; layer++)
    for (const [name, of] of Object.entries(ofLayer)) named[`model.layers.${layer}.${name}`] = of;
  return Object.entries(named).map(([name, [dtype, extents]]) => ({
    name,
    dtype,
    shape: extents,
    bytes: extents.reduce((product, n) => product * n, dtype === "BF16" ? 2 : 1),
  }));
}

function config({ layers, hidden, intermediate, heads, kvHeads, headDim, experts, vocab }) {
  return {
    architectures: ["GptOssForCausalLM"],
    attention_bias: true,
    eos_token_id: vocab === 201088 ? 200002 : vocab - 1,
    head_dim: headDim,
    hidden_size: hidden,
    intermediate_size: intermediate,
    layer_types: Array.from({ length: layers }, (_, n) => (n % 2 === 0 ? "sliding_attention" : "full_attention")),
    max_position_embeddings: 131072,
    model_type: "gpt_oss",
    num_attention_heads: heads,
    num_experts_per_tok: 4,
    num_hidden_layers: layers,
    num_key_value_heads: kvHeads,
    num_local_experts: experts,
    quantization_config: { quant_method: "mxfp4" },
    rms_norm_eps: 1e-5,
    rope_scaling: {
      beta_fast: 32,
      beta_slow: 1,
      factor: 32,
      original_max_position_embeddings: 4096,
      rope_type: "yarn",
      truncate: false,
    },
    rope_theta: 150000,
    sliding_window: 128,
    swiglu_limit: 7,
    vocab_size: vocab,
  };
}

const sum = (list) => list.reduce((total, { bytes }) => total + bytes, 0);

const [name, ...folders] = process.argv.slice(2);
const all = tensors(shapes[name]);
const bytes = sum(all);
// The page cache holds the files as well. A file in memory needs its memory once, and a tenth stays free for other
// programs.
const room = (folder) => {
  const { bavail, bsize } = statfsSync(folder);
  return Math.min(bavail * bsize, freemem()) > 1.1 * bytes;
};
const parent = folders.find(room);
if (parent === undefined) {
  console.error(`no room for ${Math.round(bytes / 1e9)} GB in ${folders.join(" or ")}, and in memory`);
  process.exit(2);
}
const folder = mkdtempSync(path.join(parent, "gpt-oss-load-"));
console.log(folder);

const noise = Buffer.allocUnsafe(64 << 20);
let state = 1;
for (let i = 0; i < noise.length; i++) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  noise[i] = 0x38 + ((state >>> 24) % 6);
}
const shards = [[]];
for (const tensor of all) {
  if (sum(shards.at(-1)) + tensor.bytes > shardBytes) shards.push([]);
  shards.at(-1).push(tensor);
}
const number = (n) => String(n).padStart(5, "0");
const weightMap = {};
for (const [i, shard] of shards.entries()) {
  const file = `model-${number(i)}-of-${number(shards.length - 1)}.safetensors`;
  const header = {};
  let position = 0;
  for (const tensor of shard) {
    weightMap[tensor.name] = file;
    header[tensor.name] = {
      dtype: tensor.dtype,
      shape: tensor.shape,
      data_offsets: [position, position + tensor.bytes],
    };
    position += tensor.bytes;
  }
  const text = JSON.stringify(header);
  const begin = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  begin.writeBigUInt64LE(BigInt(begin.length - 8));
  begin.write(text, 8);
  const fd = openSync(path.join(folder, file), "w");
  const write = (data) => {
    for (let done = 0; done < data.length; ) done += writeSync(fd, data, done);
  };
  write(begin);
  for (let left = position; left > 0; left -= noise.length) write(noise.subarray(0, Math.min(left, noise.length)));
  closeSync(fd); // no fsync: a slow disk would take the whole time, and the page cache is measured
}
const json = (file, value) => writeFileSync(path.join(folder, file), JSON.stringify(value));
json("model.safetensors.index.json", { metadata: { total_size: bytes }, weight_map: weightMap });
json("config.json", config(shapes[name]));
