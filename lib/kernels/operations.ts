import type { DeviceBuffer } from "./device-buffer.js";

/** The operations, and their arguments. Arrays are in row-major order; weights are as the checkpoints hold them. */

/** Float32 values, or the bits of bf16 values, or a buffer of either. A device rounds what its products take. */
export type Floats = Float32Array | Uint16Array | DeviceBuffer;

/** Arguments of `embed`. */
export interface EmbedArguments {
  /** bf16 `[vocab, hidden]`. */
  table: Uint16Array | DeviceBuffer;
  /** Row numbers; at least one. */
  tokens: Int32Array | DeviceBuffer;
  /** Size of the vocabulary. */
  vocab: number;
  /** Width of the hidden state. */
  hidden: number;
  /** A buffer for the result, float32 `[tokens, hidden]`. */
  output?: DeviceBuffer;
}

/** Arguments of `rmsNorm`: `x / sqrt(mean(x²) + epsilon) · weight`. */
export interface RmsNormArguments {
  /** Float32 `[rows, hidden]`. */
  x: Float32Array | DeviceBuffer;
  /** `[hidden]`. */
  weight: Floats;
  /** Rows. */
  rows: number;
  /** Width of the hidden state. */
  hidden: number;
  /** Added to the mean square. Default 1e-5. */
  epsilon?: number;
  /** A buffer for the result `[rows, hidden]`, of the type `KernelsInfo.activations`. */
  output?: DeviceBuffer;
}

/** Arguments of `linear`: `x · weightᵀ + bias + residual`. */
export interface LinearArguments {
  /** `[rows, in]`. */
  x: Floats;
  /** bf16 `[out, in]`. */
  weight: Uint16Array | DeviceBuffer;
  /** `[out]`. */
  bias?: Floats;
  /** Float32 `[rows, out]`, to which the product is added. */
  residual?: Float32Array | DeviceBuffer;
  /** Rows. */
  rows: number;
  /** Inputs of a row. */
  in: number;
  /** Outputs of a row. */
  out: number;
  /** `"high"`: activations keep 16 bits of mantissa, as for the router. Default `"standard"`. */
  precision?: "standard" | "high";
  /** A buffer for the result, float32 `[rows, out]`. */
  output?: DeviceBuffer;
}

/** Arguments of `lmHead`: the logits of rows, with activations of 16 bits. */
export interface LmHeadArguments {
  /** `[rows, hidden]`. */
  x: Floats;
  /** bf16 `[vocab, hidden]`. */
  weight: Uint16Array | DeviceBuffer;
  /** Rows. */
  rows: number;
  /** Width of the hidden state. */
  hidden: number;
  /** Size of the vocabulary. */
  vocab: number;
  /** A buffer for the result, float32 `[rows, vocab]`. */
  logits?: DeviceBuffer;
}

/** Arguments of `qkv`: queries, keys and values of the tokens. Queries and keys are rotated (RoPE with YaRN). */
export interface QkvArguments {
  /** `[tokens, hidden]`. */
  x: Floats;
  /** bf16 `[heads · headDim, hidden]`. */
  qWeight: Uint16Array | DeviceBuffer;
  /** bf16 `[kvHeads · headDim, hidden]`. */
  kWeight: Uint16Array | DeviceBuffer;
  /** bf16 `[kvHeads · headDim, hidden]`. */
  vWeight: Uint16Array | DeviceBuffer;
  /** `[heads · headDim]`. */
  qBias: Floats;
  /** `[kvHeads · headDim]`. */
  kBias: Floats;
  /** `[kvHeads · headDim]`. */
  vBias: Floats;
  /**
   * Different positions `[tokens]` in one sequence. Default: up to 32 tokens are each the first of a sequence, and more
   * are one prompt.
   */
  positions?: Int32Array | DeviceBuffer;
  /** Tokens. */
  tokens: number;
  /** Width of the hidden state. */
  hidden: number;
  /** Query heads. */
  heads: number;
  /** Heads of keys and values; `heads` is a multiple of it. */
  kvHeads: number;
  /** Default 64. GPUs have kernels for 64 only. */
  headDim?: number;
  /** The type in which keys and values are stored. Default: that of an engine. */
  kvCacheDtype?: "f32" | "bf16" | "fp8";
  /** Base of the angles. Default 150000. */
  ropeTheta?: number;
  /** The factor by which YaRN stretches the context; 1: plain RoPE. Default 32. */
  ropeFactor?: number;
  /** Default 32. */
  ropeBetaFast?: number;
  /** Default 1. */
  ropeBetaSlow?: number;
  /** Default 4096. */
  ropeOriginalContext?: number;
  /** A buffer for the queries `[tokens, heads, headDim]`, of the type `KernelsInfo.activations`. */
  q?: DeviceBuffer;
}

/** Arguments of `attention`: softmax of the scaled scores and the sinks, times the values. */
export interface AttentionArguments {
  /** `[tokens, heads, headDim]`. */
  q: Floats;
  /** `[keys, kvHeads, headDim]`: the keys of all sequences, one sequence after the other. */
  k: Floats;
  /** `[keys, kvHeads, headDim]`. */
  v: Floats;
  /** One score without a value for each head `[heads]`; -infinity: none. */
  sinks: Floats;
  /** Positions `[tokens]`. A token sees keys up to its own position. Default: the last positions of its sequence. */
  positions?: Int32Array | DeviceBuffer;
  /** The sequence `[tokens]` of each token. Default: all are of the first one. */
  sequence?: Int32Array | DeviceBuffer;
  /** The number of keys of each sequence. Default: one sequence with all keys. */
  lengths?: Int32Array | DeviceBuffer;
  /** Tokens. */
  tokens: number;
  /** Keys of all sequences together. */
  keys: number;
  /** Query heads. */
  heads: number;
  /** Heads of keys and values; `heads` is a multiple of it. */
  kvHeads: number;
  /** Default 64. GPUs have kernels for 64 only. */
  headDim?: number;
  /** How many keys a token sees, its own included; 0: all. Default 0. */
  window?: number;
  /** Default `1 / sqrt(headDim)`. */
  scale?: number;
  /** The type in which keys and values are stored. Default: that of an engine. */
  kvCacheDtype?: "f32" | "bf16" | "fp8";
  /** A buffer for the result `[tokens, heads, headDim]`, of the type `KernelsInfo.activations`. */
  output?: DeviceBuffer;
}

/** Arguments of `router`: the `topK` highest logits of each token, and their softmax. */
export interface RouterArguments {
  /** Float32 `[tokens, experts]`. */
  logits: Float32Array | DeviceBuffer;
  /** Tokens. */
  tokens: number;
  /** Experts. */
  experts: number;
  /** Default 4, or `experts` if that is less. */
  topK?: number;
  /** A buffer for the chosen experts, int32 `[tokens, topK]`, the best first. */
  index?: DeviceBuffer;
  /** A buffer for their weights, float32 `[tokens, topK]`. */
  weight?: DeviceBuffer;
}

/** Arguments of `experts`: `residual + Σ weight · down(swiglu(gateUp(x)))` over the chosen experts, with MXFP4 weights. */
export interface ExpertsArguments {
  /** `[tokens, hidden]`. */
  x: Floats;
  /** int32 `[tokens, topK]`: different experts for each token. */
  index: Int32Array | DeviceBuffer;
  /** Float32 `[tokens, topK]`. */
  weight: Float32Array | DeviceBuffer;
  /** `[experts, 2 · intermediate, hidden / 32, 16]`; even rows are gates, odd rows are up. */
  gateUpBlocks: Uint8Array | DeviceBuffer;
  /** `[experts, 2 · intermediate, hidden / 32]`. */
  gateUpScales: Uint8Array | DeviceBuffer;
  /** `[experts, 2 · intermediate]`. */
  gateUpBias: Floats;
  /** `[experts, hidden, intermediate / 32, 16]`. */
  downBlocks: Uint8Array | DeviceBuffer;
  /** `[experts, hidden, intermediate / 32]`. */
  downScales: Uint8Array | DeviceBuffer;
  /** `[experts, hidden]`. */
  downBias: Floats;
  /** Float32 `[tokens, hidden]`. Default: zeros. */
  residual?: Float32Array | DeviceBuffer;
  /** Tokens. */
  tokens: number;
  /** A multiple of 32. */
  hidden: number;
  /** A multiple of 32. */
  intermediate: number;
  /** Experts. */
  experts: number;
  /** Default 4. */
  topK?: number;
  /** Bound of the clamp in SwiGLU. Default 7. */
  limit?: number;
  /** Factor of the sigmoid in SwiGLU. Default 1.702. */
  alpha?: number;
  /** A buffer for the result, float32 `[tokens, hidden]`. */
  output?: DeviceBuffer;
}

/** Arguments of `sample`. The options mean what they mean in `Engine.generate`; row r draws as choice r. */
export interface SampleArguments {
  /** `[rows, vocab]`. */
  logits: Floats;
  /** Rows. */
  rows: number;
  /** Size of the vocabulary. */
  vocab: number;
  /** 0: the token with the highest logit. Default 1. */
  temperature?: number;
  /** 0: all. Default 0. */
  topK?: number;
  /** Default 1. */
  topP?: number;
  /** Default 0. */
  minP?: number;
  /** An integer in [0, 2^53). Default 0. */
  seed?: number;
  /** The index of the drawn token in its completion. Default 0. */
  position?: number;
}

/** Arguments of `swiglu`: `gate' · sigmoid(alpha · gate') · (up' + 1)`, with clamped gate' and up'. */
export interface SwigluArguments {
  /** Float32 `[rows, 2 · intermediate]`: gate and up in turn. */
  x: Float32Array | DeviceBuffer;
  /** Rows. */
  rows: number;
  /** Width of an expert between its two matrices. */
  intermediate: number;
  /** Default 1.702. */
  alpha?: number;
  /** Default 7. */
  limit?: number;
  /** A buffer for the result, float32 `[rows, intermediate]`. */
  output?: DeviceBuffer;
}

/** Arguments of `mxfp4Dequantize`. */
export interface Mxfp4DequantizeArguments {
  /** `[rows, cols / 32, 16]`: two codes in a byte, the lower four bits first. */
  blocks: Uint8Array | DeviceBuffer;
  /** `[rows, cols / 32]`: exponents with a bias of 127; 255 is NaN. */
  scales: Uint8Array | DeviceBuffer;
  /** Rows. */
  rows: number;
  /** A multiple of 32. */
  cols: number;
  /** A buffer for the result, float32 `[rows, cols]`. */
  output?: DeviceBuffer;
}

/** Arguments of `mxfp4Gemm`: `x · weightᵀ + bias` with one matrix in MXFP4. */
export interface Mxfp4GemmArguments {
  /** `[rows, in]`. */
  x: Floats;
  /** `[out, in / 32, 16]`. */
  blocks: Uint8Array | DeviceBuffer;
  /** `[out, in / 32]`. */
  scales: Uint8Array | DeviceBuffer;
  /** `[out]`. */
  bias?: Floats;
  /** Rows. */
  rows: number;
  /** A multiple of 32. */
  in: number;
  /** A multiple of 32. */
  out: number;
  /** A buffer for the result, float32 `[rows, out]`. */
  output?: DeviceBuffer;
}

/** The arguments of each operation. */
export interface OperationArguments {
  /** Of `Kernels.embed`. */
  embed: EmbedArguments;
  /** Of `Kernels.rmsNorm`. */
  rmsNorm: RmsNormArguments;
  /** Of `Kernels.linear`. */
  linear: LinearArguments;
  /** Of `Kernels.qkv`. */
  qkv: QkvArguments;
  /** Of `Kernels.attention`. */
  attention: AttentionArguments;
  /** Of `Kernels.router`. */
  router: RouterArguments;
  /** Of `Kernels.experts`. */
  experts: ExpertsArguments;
  /** Of `Kernels.lmHead`. */
  lmHead: LmHeadArguments;
  /** Of `Kernels.sample`. */
  sample: SampleArguments;
  /** Of `Kernels.swiglu`. */
  swiglu: SwigluArguments;
  /** Of `Kernels.mxfp4Dequantize`. */
  mxfp4Dequantize: Mxfp4DequantizeArguments;
  /** Of `Kernels.mxfp4Gemm`. */
  mxfp4Gemm: Mxfp4GemmArguments;
}

/** The name of an operation. */
export type OperationName = keyof OperationArguments;

/** A result: a typed array, or the buffer that the call passed for it. */
export type Result<Arguments, Name extends string, Values> = Arguments extends { [name in Name]: DeviceBuffer }
  ? DeviceBuffer
  : Values;

/** The result of most operations. */
export interface Output<A> {
  /** As the arguments describe it. */
  output: Result<A, "output", Float32Array>;
}

/** The results of `qkv`. */
export interface QkvOutput<A> {
  /** Rotated queries `[tokens, heads, headDim]`. */
  q: Result<A, "q", Float32Array>;
  /** Rotated keys `[tokens, kvHeads, headDim]`, as the cache holds them. */
  k: Float32Array;
  /** Values `[tokens, kvHeads, headDim]`, as the cache holds them. */
  v: Float32Array;
}

/** The results of `router`. */
export interface RouterOutput<A> {
  /** The chosen experts `[tokens, topK]`, the best first. */
  index: Result<A, "index", Int32Array>;
  /** Their weights `[tokens, topK]`. */
  weight: Result<A, "weight", Float32Array>;
}

/** The result of `lmHead`. */
export interface LmHeadOutput<A> {
  /** `[rows, vocab]`. */
  logits: Result<A, "logits", Float32Array>;
}

/** The results of `sample`. */
export interface SampleOutput {
  /** `[rows]`. */
  token: Int32Array;
  /** Natural logarithms of their probabilities under the logits themselves `[rows]`. */
  logprob: Float32Array;
}

/** What every call reports beside its results. */
export type Ran<Results> = Results & {
  /** Time of the operation on the device, in microseconds, without transfers. */
  elapsedMicroseconds: number;
  /** Bytes that it must read at least: weights, keys and values once each, or its input if it has none of them. */
  bytesMoved: number;
  /** Floating-point operations that the result needs; a multiplication and an addition are two. */
  flops: number;
};
