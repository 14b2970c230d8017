import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";

/**
 * Random checkpoints with the architecture of gpt-oss, of any size, without Python: 1 GB in a few seconds and a few MB
 * of memory. The values depend on the shape and the seed alone, not on the layout or the shards. Their scales match
 * test/oracle/make_checkpoint.py: activations keep their size through the layers, some gates pass the clamp, and sinks
 * weigh as much as some keys. The values themselves differ.
 */

export interface CheckpointShape {
  layers: number;
  /** A multiple of 32, like `intermediate`. */
  hidden: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  experts: number;
  topK: number;
  vocab: number;
  window: number;
}

export interface CheckpointOptions extends CheckpointShape {
  seed: number;
  layout: "huggingface" | "original";
  /** Maximum bytes of a shard: the next tensor beyond it starts a new one. Default: one file. */
  shardBytes: number;
  /** `max_position_embeddings`; only the Hugging Face config has it, the original one implies 4096 * 32. */
  contextLength: number;
}

const tiny: CheckpointShape = {
  layers: 4,
  hidden: 96,
  intermediate: 96,
  heads: 16,
  kvHeads: 2,
  headDim: 64,
  experts: 8,
  topK: 4,
  vocab: 512,
  window: 128,
};

/** 0.72 GB. 1440 is 45 blocks of 32, so it is not a multiple of 64, like the 2880 of the real models. */
const small: CheckpointShape = {
  layers: 8,
  hidden: 1440,
  intermediate: 1440,
  heads: 32,
  kvHeads: 4,
  headDim: 64,
  experts: 16,
  topK: 4,
  vocab: 32768,
  window: 128,
};

export const presets = { tiny, small };

/** A shape whose files have nearly `bytes`, in whole layers: within 2 MB below 400 MB, within 35 MB above. */
export function sized(bytes: number): CheckpointShape {
  const base =
    bytes < 400e6 ? { ...small, hidden: 288, intermediate: 288, heads: 8, kvHeads: 2, experts: 8, vocab: 4096 } : small;
  const outer = checkpointBytes({ ...base, layers: 0 });
  const layer = checkpointBytes({ ...base, layers: 1 }) - outer;
  return { ...base, layers: Math.max(2, Math.round((bytes - outer) / layer)) };
}

/** Bytes of all tensors. The files add a header of some hundred bytes per tensor. */
export function checkpointBytes(shape: CheckpointShape): number {
  return sum(huggingfaceTensors(shape, 0).map(tensorBytes));
}

/** Writes config.json and the weights into `folder`. Defaults: tiny, seed 1, Hugging Face layout. */
export function writeCheckpoint(folder: string, options: Partial<CheckpointOptions> = {}): { bytes: number } {
  const o: CheckpointOptions = {
    ...tiny,
    seed: 1,
    layout: "huggingface",
    shardBytes: Number.POSITIVE_INFINITY,
    contextLength: 131072,
    ...options,
  };
  const tensors = o.layout === "huggingface" ? huggingfaceTensors(o, o.seed) : originalTensors(o, o.seed);
  mkdirSync(folder, { recursive: true });
  const shards = splitIntoShards(tensors, o.shardBytes);
  const last = shards.length - 1;
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    // as in the released models: counted from 0, and the second number is the last index, not the count
    const file = last === 0 ? "model.safetensors" : `model-${padded(i)}-of-${padded(last)}.safetensors`;
    writeFile(path.join(folder, file), shard);
    for (const { name } of shard) weightMap[name] = file;
  }
  const bytes = sum(tensors.map(tensorBytes));
  if (last > 0)
    writeJson(folder, "model.safetensors.index.json", { metadata: { total_size: bytes }, weight_map: weightMap });
  writeJson(folder, "config.json", o.layout === "huggingface" ? huggingfaceConfig(o) : originalConfig(o));
  return { bytes };
}

interface Tensor {
  name: string;
  dtype: "BF16" | "U8";
  shape: number[];
  /** Yields the bytes in order; a chunk is valid until the next one. */
  chunks(): Iterable<Uint8Array>;
}

// ---- the random values ----

const chunkDraws = 1 << 18; // 1 MB of draws: large enough for fast writes, small enough for the cache
const draws = new Uint32Array(chunkDraws);

/** Marsaglia's xorshift32, one stream per tensor. */
class Stream {
  #state: number;

  constructor(seed: number, name: string) {
    let hash = Math.imul(seed + 1, 0x9e3779b1);
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    this.#state = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b) | 1; // never 0, from which the generator would not move
  }

  /** The next `count` draws, in a buffer that the next call reuses. */
  next(count: number): Uint32Array {
    let x = this.#state;
    for (let i = 0; i < count; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      draws[i] = x;
    }
    this.#state = x;
    return draws.subarray(0, count);
  }
}

/** An approximate normal distribution: the sum of four random bytes has mean 510 and deviation 147.8. */
function* normalChunks(stream: Stream, count: number, mean: number, deviation: number): Generator<Uint8Array> {
  const table = new Uint16Array(4 * 255 + 1);
  for (let i = 0; i < table.length; i++) table[i] = bf16(mean + (deviation * (i - 510)) / 147.8);
  const out = new Uint16Array(Math.min(count, chunkDraws));
  for (let done = 0; done < count; done += chunkDraws) {
    const drawn = stream.next(Math.min(chunkDraws, count - done));
    for (let i = 0; i < drawn.length; i++) {
      const x = drawn[i]!;
      out[i] = table[(x & 255) + ((x >>> 8) & 255) + ((x >>> 16) & 255) + (x >>> 24)]!;
    }
    yield new Uint8Array(out.buffer, 0, 2 * drawn.length);
  }
}

function* byteChunks(stream: Stream, count: number): Generator<Uint8Array> {
  for (let done = 0; done < count; done += 4 * chunkDraws) {
    const bytes = Math.min(4 * chunkDraws, count - done);
    yield new Uint8Array(stream.next(Math.ceil(bytes / 4)).buffer, 0, bytes);
  }
}

/** The target's scale in half of the blocks, one binade lower or higher in a quarter each. */
function* scaleChunks(stream: Stream, count: number, middle: number): Generator<Uint8Array> {
  const table = Uint8Array.of(middle - 1, middle, middle, middle + 1);
  for (const bytes of byteChunks(stream, count)) yield bytes.map((x) => table[x >>> 6]!);
}

const scratch = new DataView(new ArrayBuffer(4));

/** Bits of the nearest bf16, ties to even. */
function bf16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

// ---- the tensors, by their Hugging Face names ----

function dense(name: string, shape: number[], mean: number, deviation: number, seed: number): Tensor {
  return {
    name,
    dtype: "BF16",
    shape,
    chunks: () => normalChunks(new Stream(seed, name), product(shape), mean, deviation),
  };
}

/** Blocks and scales of [experts, rows, cols]. Their products with an input of rms 1 have the rms `target`. */
function mxfp4(name: string, [experts, rows, cols]: [number, number, number], target: number, seed: number): Tensor[] {
  const nibbleSquare = 68.5 / 8; // mean square of a uniformly drawn E2M1 value
  const scaleSquare = 0.5 + 0.25 / 4 + 0.25 * 4; // and of the scales drawn around the middle one
  const middle = 127 + Math.round(Math.log2(target / Math.sqrt(nibbleSquare * scaleSquare * cols)));
  const blocks = [experts, rows, cols / 32, 16];
  const scales = [experts, rows, cols / 32];
  return [
    {
      name: `${name}_blocks`,
      dtype: "U8",
      shape: blocks,
      chunks: () => byteChunks(new Stream(seed, `${name}_blocks`), product(blocks)),
    },
    {
      name: `${name}_scales`,
      dtype: "U8",
      shape: scales,
      chunks: () => scaleChunks(new Stream(seed, `${name}_scales`), product(scales), middle),
    },
  ];
}

function huggingfaceTensors(s: CheckpointShape, seed: number): Tensor[] {
  const tensors = [dense("model.embed_tokens.weight", [s.vocab, s.hidden], 0, 1, seed)];
  for (let n = 0; n < s.layers; n++) tensors.push(...layerTensors(s, n, seed));
  tensors.push(dense("model.norm.weight", [s.hidden], 1, 0.15, seed));
  tensors.push(dense("lm_head.weight", [s.vocab, s.hidden], 0, 2.5 / Math.sqrt(s.hidden), seed));
  return tensors;
}

function layerTensors(s: CheckpointShape, n: number, seed: number): Tensor[] {
  const layer = `model.layers.${n}.`;
  const q = s.heads * s.headDim;
  const kv = s.kvHeads * s.headDim;
  const normal = (name: string, shape: number[], mean: number, deviation: number) =>
    dense(layer + name, shape, mean, deviation, seed);
  const experts = (name: string, shape: [number, number, number], target: number) =>
    mxfp4(layer + name, shape, target, seed);
  return [
    normal("input_layernorm.weight", [s.hidden], 1, 0.15),
    normal("self_attn.q_proj.weight", [q, s.hidden], 0, 0.95 / Math.sqrt(s.hidden)),
    normal("self_attn.q_proj.bias", [q], 0, 0.3),
    normal("self_attn.k_proj.weight", [kv, s.hidden], 0, 0.95 / Math.sqrt(s.hidden)),
    normal("self_attn.k_proj.bias", [kv], 0, 0.3),
    normal("self_attn.v_proj.weight", [kv, s.hidden], 0, 1 / Math.sqrt(s.hidden)),
    normal("self_attn.v_proj.bias", [kv], 0, 0.3),
    normal("self_attn.sinks", [s.heads], 3, 2), // near the log-sum-exp of 10 .. 300 keys
    normal("self_attn.o_proj.weight", [s.hidden, q], 0, 1.5 / Math.sqrt(q)),
    normal("self_attn.o_proj.bias", [s.hidden], 0, 0.2),
    normal("post_attention_layernorm.weight", [s.hidden], 1, 0.15),
    normal("mlp.router.weight", [s.experts, s.hidden], 0, 1.5 / Math.sqrt(s.hidden)),
    normal("mlp.router.bias", [s.experts], 0, 0.4),
    ...experts("mlp.experts.gate_up_proj", [s.experts, 2 * s.intermediate, s.hidden], 3.2),
    normal("mlp.experts.gate_up_proj_bias", [s.experts, 2 * s.intermediate], 0, 0.5),
    ...experts("mlp.experts.down_proj", [s.experts, s.hidden, s.intermediate], 0.16), // its input has an rms of about 5
    normal("mlp.experts.down_proj_bias", [s.experts, s.hidden], 0, 0.2),
  ];
}

// ---- OpenAI's layout: other names, and q, k, v in one tensor ----

/** New name ← the tensors that form its content, joined along the first dimension. */
const originalOuterNames = {
  "embedding.weight": "model.embed_tokens.weight",
  "norm.scale": "model.norm.weight",
  "unembedding.weight": "lm_head.weight",
};

const originalLayerNames = {
  "attn.norm.scale": ["input_layernorm.weight"],
  "attn.qkv.weight": ["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"],
  "attn.qkv.bias": ["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"],
  "attn.sinks": ["self_attn.sinks"],
  "attn.out.weight": ["self_attn.o_proj.weight"],
  "attn.out.bias": ["self_attn.o_proj.bias"],
  "mlp.norm.scale": ["post_attention_layernorm.weight"],
  "mlp.gate.weight": ["mlp.router.weight"],
  "mlp.gate.bias": ["mlp.router.bias"],
  "mlp.mlp1_weight.blocks": ["mlp.experts.gate_up_proj_blocks"],
  "mlp.mlp1_weight.scales": ["mlp.experts.gate_up_proj_scales"],
  "mlp.mlp1_bias": ["mlp.experts.gate_up_proj_bias"],
  "mlp.mlp2_weight.blocks": ["mlp.experts.down_proj_blocks"],
  "mlp.mlp2_weight.scales": ["mlp.experts.down_proj_scales"],
  "mlp.mlp2_bias": ["mlp.experts.down_proj_bias"],
};

function originalTensors(s: CheckpointShape, seed: number): Tensor[] {
  const source = new Map(huggingfaceTensors(s, seed).map((tensor) => [tensor.name, tensor]));
  const [embedding, ...outer] = Object.entries(originalOuterNames).map(([name, from]) =>
    stacked(name, [source.get(from)!]),
  );
  const layers = Array.from({ length: s.layers }, (_, n) =>
    Object.entries(originalLayerNames).map(([name, from]) =>
      stacked(
        `block.${n}.${name}`,
        from.map((part) => source.get(`model.layers.${n}.${part}`)!),
      ),
    ),
  );
  return [embedding!, ...layers.flat(), ...outer];
}

function stacked(name: string, parts: Tensor[]): Tensor {
  const [, ...rest] = parts[0]!.shape;
  return {
    name,
    dtype: parts[0]!.dtype,
    shape: [sum(parts.map((part) => part.shape[0]!)), ...rest],
    *chunks() {
      for (const part of parts) yield* part.chunks();
    },
  };
}

// ---- files ----

function splitIntoShards(tensors: Tensor[], shardBytes: number): Tensor[][] {
  const shards: Tensor[][] = [[]];
  let used = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    if (used > 0 && used + bytes > shardBytes) {
      shards.push([]);
      used = 0;
    }
    shards.at(-1)!.push(tensor);
    used += bytes;
  }
  return shards;
}

function writeFile(file: string, tensors: Tensor[]): void {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let position = 0;
  for (const tensor of tensors) {
    const end = position + tensorBytes(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [position, end] };
    position = end;
  }
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const fd = openSync(file, "w");
  try {
    writeAll(fd, length);
    writeAll(fd, Buffer.from(padded));
    for (const tensor of tensors) for (const chunk of tensor.chunks()) writeAll(fd, chunk);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

function writeJson(folder: string, name: string, value: unknown): void {
  writeFileSync(path.join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
}

/** config.json as in the released models; end and pad are the last ids of a small vocabulary. */
function huggingfaceConfig(o: CheckpointOptions): object {
  const [end, pad] = o.vocab === 201088 ? [200002, 199999] : [o.vocab - 2, o.vocab - 1];
  return {
    architectures: ["GptOssForCausalLM"],
    attention_bias: true,
    eos_token_id: end,
    experts_per_token: o.topK,
    head_dim: o.headDim,
    hidden_act: "silu",
    hidden_size: o.hidden,
    initial_context_length: 4096,
    intermediate_size: o.intermediate,
    layer_types: Array.from({ length: o.layers }, (_, n) => (n % 2 === 0 ? "sliding_attention" : "full_attention")),
    max_position_embeddings: o.contextLength,
    model_type: "gpt_oss",
    num_attention_heads: o.heads,
    num_experts_per_tok: o.topK,
    num_hidden_layers: o.layers,
    num_key_value_heads: o.kvHeads,
    num_local_experts: o.experts,
    pad_token_id: pad,
    quantization_config: {
      modules_to_not_convert: [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
      ],
      quant_method: "mxfp4",
    },
    rms_norm_eps: 1e-5,
    rope_scaling: {
      beta_fast: 32.0,
      beta_slow: 1.0,
      factor: 32.0,
      original_max_position_embeddings: 4096,
      rope_type: "yarn",
      truncate: false,
    },
    rope_theta: 150000,
    sliding_window: o.window,
    swiglu_limit: 7.0,
    tie_word_embeddings: false,
    vocab_size: o.vocab,
  };
}

function originalConfig(o: CheckpointOptions): object {
  return {
    num_hidden_layers: o.layers,
    num_experts: o.experts,
    experts_per_token: o.topK,
    vocab_size: o.vocab,
    hidden_size: o.hidden,
    intermediate_size: o.intermediate,
    swiglu_limit: 7.0,
    head_dim: o.headDim,
    num_attention_heads: o.heads,
    num_key_value_heads: o.kvHeads,
    sliding_window: o.window,
    initial_context_length: 4096,
    rope_theta: 150000,
    rope_scaling_factor: 32.0,
    rope_ntk_alpha: 1,
    rope_ntk_beta: 32,
  };
}

function tensorBytes(tensor: Tensor): number {
  return product(tensor.shape) * (tensor.dtype === "BF16" ? 2 : 1);
}

const padded = (n: number) => String(n).padStart(5, "0");
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
const product = (values: number[]) => values.reduce((a, b) => a * b, 1);
