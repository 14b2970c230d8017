import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { addonNotFound } from "./addon-not-found.js";
import { inThisRealm } from "./common/realm.js";
import { isError } from "./errors.js";
import { packageManifest, packageRoot } from "./package-root.js";
import { addonPackage, cudaPackage } from "./platform-package.js";

/** The progress of `Engine.load`, passed to `onProgress`. */
export interface LoadProgress {
  /** "open": files are opened and checked. "pack": weights are copied or reordered. "ready": loading is complete. */
  phase: "open" | "pack" | "ready";
  /** Bytes loaded so far. */
  loadedBytes: number;
  /** Bytes to load in total. */
  totalBytes: number;
  /** The file of packed weights that this load writes for later ones. */
  writes?: string;
}

/** The engine options of the addon: every value is present, 0 where the addon chooses. */
export interface NativeEngineOptions {
  backend: string;
  threads: number;
  contextLength: number;
  maxSequences: number;
  maxQueue: number;
  maxBatchTokens: number;
  kvBytes: number;
  kvDtype: "auto" | "f32" | "bf16" | "fp8";
  prefixCache: boolean;
  numerics: "auto" | "exact" | "fast";
  denseWeights: "bf16" | "q8";
  expertWeights: "mxfp4" | "bf16";
  packedWeights: string;
  repeatable: boolean;
  adapters: NativeAdapter[];
}

/** An adapter to load. */
export interface NativeAdapter {
  name: string;
  path: string;
  scale: number;
  merge: boolean;
}

/** An adapter of an engine. */
export interface AdapterInfo {
  /** The name by which a request chooses it; for a merged one, only a label. */
  name: string;
  /** Where it was read. */
  path: string;
  /** The factor that was given at load. */
  scale: number;
  /** Whether it is part of the weights. */
  merged: boolean;
  /** The greatest rank of its matrices. */
  rank: number;
  /** The number of matrices that it changes. Each expert counts by itself. */
  matrices: number;
  /** Bytes in memory. 0 for a merged one. */
  bytes: number;
  /**
   * For a merged one: what MXFP4 cannot keep of the experts, as root mean square on a sample of rows. 0 where the
   * adapter leaves the experts alone.
   */
  error?: {
    /** The error divided by the weights. */
    ofWeights: number;
    /** The error divided by the adapter's change. */
    ofChange: number;
  };
}

export { packageRoot };

/** This file alone finds, loads and types the addon. */

export interface NativeTokenizer {
  /**
   * Text that spells out one of these special tokens becomes that token. All other text is ordinary. Null: the text has
   * more than `most` tokens, and encoding stopped early.
   */
  tokenizerEncode(text: string, allowedSpecial?: Uint32Array, most?: number): Uint32Array | null;
  /** Does the same into `target`, as far as it has room. Returns the number of tokens of the text. */
  tokenizerEncodeInto(text: string, target: Uint32Array, allowedSpecial?: Uint32Array): number;
  /**
   * Encodes several texts separately on a thread of the pool. After `cancel` the promise soon rejects with CANCELLED.
   */
  tokenizerEncodeAsync(
    texts: readonly string[],
    allowedSpecial?: Uint32Array,
    most?: number,
  ): { promise: Promise<(Uint32Array | null)[]>; cancel(): void };
  tokenizerCount(text: string): number;
  /**
   * Returns the bytes of ordinary tokens and of the 1,091 special ones. Throws INVALID_ARGUMENT for an id above 201088.
   */
  tokenizerDecode(ids: Uint32Array): Uint8Array;
  /** The bytes of all 201,089 tokens one after the other, and the end position of each. */
  tokenizerTable(): { bytes: Uint8Array; ends: Uint32Array };
}

export interface NativeBackendStatus {
  name: string;
  available: boolean;
  detail: string;
}

export interface NativeSamplingParams {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** 64 bits. */
  seed: bigint;
  maskReserved: boolean;
}

/** The inputs of a draw besides logits and params. `lib/generation/sampling.ts` defines their use. */
export interface NativeSamplingContext {
  /** The index of the choice among the n choices. */
  choice: number;
  prompt: Uint32Array;
  completion: Uint32Array;
  bias: { tokens: Uint32Array; values: Float32Array };
  topLogprobs: number;
}

/** Times of a request, in milliseconds. */
export interface NativeTimings {
  /** From the request until it runs. */
  queueMilliseconds: number;
  /** From the start of the run to the first token. */
  prefillMilliseconds: number;
  /** From the first to the last token. */
  decodeMilliseconds: number;
}

/** A token and its log probability. */
export interface TokenLogprob {
  /** Token id. */
  token: number;
  /** Natural logarithm of the token's probability under the model itself. */
  logprob: number;
}

/** `index` is the event's choice among the n choices. Every choice ends with one "done", or all with one "error". */
export type NativeEvent = {
  id: number;
  index: number;
} /** Once for a request with a constraint: it is compiled and waits to run. `tool` null: the final format. */ & (
  | { kind: "accepted"; relaxed: { tool: string | null; reason: string }[] }
  | { kind: "token"; token: number; text: string; logprob: number; top?: TokenLogprob[] }
  /** A row of logits for the request's logitsProcessor. The choice waits until `supplyLogits` returns it. */
  | { kind: "process"; tokens: Uint32Array; logits: Float32Array }
  | { kind: "logits"; logits: Float32Array }
  /** `text`: text that was held back as a possible stop string or an incomplete character, and is text after all. */
  | {
      kind: "done";
      reason: "stop" | "length" | "cancelled";
      text: string;
      cachedTokens: number;
      timings: NativeTimings;
    }
  | { kind: "error"; error: Error }
);

export interface NativeRequest {
  id: number;
  prompt: Uint32Array;
  /** Choices that share the prompt's pages. Choice i draws from the random stream (seed, i). */
  n: number;
  maxTokens: number;
  /** The number of first tokens that are not stop tokens: stop tokens are banned until then. */
  minTokens: number;
  stopTokens: Uint32Array;
  /** Texts that end the completion. They are not part of its text. */
  stop: string[];
  sampling: NativeSamplingParams;
  bias: { tokens: Uint32Array; values: Float32Array };
  topLogprobs: number;
  /** Higher runs sooner. The effect is bounded by one minute of waiting. */
  priority: number;
  /** The name of the client. Tenants take turns, and share the queue. */
  tenant: string;
  /** Prefixes are shared only within one salt. */
  cacheSalt: string;
  /** The name of an adapter that is loaded; "": none. */
  adapter: string;
  /** Whether logits go through JavaScript before each draw. */
  processed: boolean;
  /** The checked JSON text of a `Constraint`. The addon compiles it on a separate thread. */
  constraint: string | null;
  /** Above 0: compute the logits of this many last positions of the prompt instead of a completion. */
  logitsLast: number;
}

/** The config of a checkpoint, as in its files. */
export interface ModelConfig {
  /** Transformer layers. */
  layers: number;
  /** Width of the hidden state. */
  hidden: number;
  /** Width of an expert between its two matrices. */
  intermediate: number;
  /** Query heads of a layer. */
  heads: number;
  /** Key and value heads of a layer. */
  kvHeads: number;
  /** Width of a head. */
  headDim: number;
  /** Experts of a layer. */
  experts: number;
  /** Experts that the router chooses for each token. */
  expertsPerToken: number;
  /** Rows of the embedding, which is also the number of logits of a position. */
  vocab: number;
  /** Tokens that a layer of type "sliding" sees. */
  slidingWindow: number;
  /** Added to the mean square in RMSNorm. */
  rmsEps: number;
  /** Bound of the clamp in SwiGLU. */
  swigluLimit: number;
  /** Factor of the sigmoid in SwiGLU. */
  swigluAlpha: number;
  /** The context length, in tokens, that the model was made for. */
  maxContext: number;
  /** Number of parameters. */
  parameters: number;
  /** The attention type of each layer. */
  layerTypes: ("sliding" | "full")[];
  /** Rotary embedding, with the scaling of YaRN. */
  rope: {
    /** Base of the frequencies. */
    theta: number;
    /** The factor by which the context is stretched. */
    factor: number;
    /** The number of rotations in the original context from which a frequency is unchanged. */
    betaFast: number;
    /** The number of rotations in the original context below which a frequency is divided by `factor`. */
    betaSlow: number;
    /** The context length in tokens before stretching. */
    originalContext: number;
    /** Whether the two bounds are rounded to whole dimensions. */
    truncate: boolean;
  };
  /** Ids that end a completion, as the checkpoint lists them. */
  eosTokens: number[];
}

/** The naming and packing of the tensors in the files of a checkpoint. `docs/formats.md` describes them. */
export type CheckpointLayout =
  | "huggingface"
  | "huggingface, bf16 experts"
  | "original"
  | "mlx"
  | "gguf"
  | "gguf (Ollama)"
  | "synthetic";

/** What converting weights changed. All is 0 while nothing was converted. */
export interface ConversionSummary {
  /** Values that were converted. */
  values: number;
  /** Values that are not the same afterwards. */
  changed: number;
  /** Root of the sum of squared errors, divided by that of the squared values. */
  relativeRms: number;
  /** The largest absolute error. */
  largestError: number;
  /** Name in the file of the tensor with that error, or null. */
  largestIn: string | null;
}

/** What the conversion of a checkpoint changed, for weights that the files hold in another format. */
export interface WeightConversion {
  /** Attention, embedding, head and router, rounded to bf16. Matrices that stay in Q8 are not converted. */
  dense: ConversionSummary;
  /**
   * Experts that were quantised to MXFP4. Those in a `packedWeights` file were converted when it was made. With
   * `expertWeights: "bf16"`, those that were rounded to bf16; experts that are stored as bf16 are not converted.
   */
  experts: ConversionSummary;
}

export interface NativeEngineInfo {
  /** What the conversion of its weights changed; null when the files hold them as they are used. */
  conversion: WeightConversion | null;
  /** The config of the checkpoint, and the layout of its files. */
  model: ModelConfig & {
    /** The naming and packing of its tensors. */
    layout: CheckpointLayout;
  };
  /** "cpu", "cuda" or "metal". */
  backend: string;
  /** The reason for this backend: "asked for", or what `"auto"` found. */
  backendReason: string;
  /** Name of the processor or GPU. */
  device: string;
  /** Instruction set of the CPU, or architecture of the GPU. */
  isa: string;
  /** Worker threads of the CPU backend. */
  threads: number;
  /**
   * The reason for this number: "asked for", the available cores, or the limit that applies (affinity, cgroup quota).
   */
  threadsReason: string;
  /**
   * Memory, in bytes unless it says tokens. With `denseWeights: "q8"`, the copied matrices are no longer read from the
   * files.
   */
  memory: {
    /** Mapped weight files. */
    weightsBytes: number;
    /** Copies of weights beside the files, and adapters that were loaded with the model for requests to choose. */
    packedBytes: number;
    /** Activations, and the most work memory that a step takes. */
    workspaceBytes: number;
    /** The KV cache. */
    kvBytes: number;
    /** The capacity of the KV cache in tokens. */
    kvTokens: number;
    /** The usable memory before anything was loaded, page cache included. */
    availableBytes: number;
    /** The source of that number: the machine, the cgroup, or `ulimit -v`. */
    availableReason: string;
  };
  /** Element type of keys and values. */
  kvCacheDtype: "f32" | "bf16" | "fp8";
  /** "exact": float32 activations. "fast": bf16 activations with float32 sums. */
  numerics: "exact" | "fast";
  /** Attention, embedding and head: as in the files, or a lossy 8-bit copy. */
  denseWeights: "bf16" | "q8";
  /** The format of the experts. */
  expertWeights: "mxfp4" | "bf16";
  /** The experts in the backend's own order. */
  packedWeights: {
    /** The place: no copy, a copy in memory, or a file. */
    in: "none" | "memory" | "file";
    /** The path of the file. */
    path?: string;
    /** The reason why there is no file. */
    reason?: string;
  };
  /** Whether a request gives the same bits in any batch. */
  repeatable: boolean;
  /** Whether beginnings of prompts are reused. */
  prefixCache: boolean;
  /** The adapters that were merged into the weights, in order. */
  mergedAdapters: AdapterInfo[];
  /** The limits in effect, after all defaults. They have the names of their options. */
  limits: {
    /** Tokens of one sequence, prompt and output together. */
    contextLength: number;
    /** Running sequences. */
    maxSequences: number;
    /** Waiting requests. */
    maxQueue: number;
    /** Tokens of one step. */
    maxBatchTokens: number;
  };
}

/**
 * The distribution of values since the engine was loaded. Times are in milliseconds. Percentiles are exact within 10 %.
 */
export interface Histogram {
  /** The number of values. */
  count: number;
  /** The sum of the values. */
  sum: number;
  /** The median: half of the values are at most this. */
  p50: number;
  /** The 90th percentile. */
  p90: number;
  /** The 99th percentile. */
  p99: number;
  /** The largest value. */
  max: number;
  /**
   * The number of values in each bucket, from `from` up to the next bucket. Buckets are 12 % wide, and empty ones are
   * left out. Absent where only the sums are kept.
   */
  buckets?: {
    /** The lower bound of the bucket. */
    from: number;
    /** The number of values in the bucket. */
    count: number;
  }[];
}

/**
 * Pages of 64 tokens of one group of layers. Cached pages hold a prefix that no sequence uses now; they also count as
 * free.
 */
export interface PageStats {
  /** All pages. */
  total: number;
  /** Pages that can be allocated. */
  free: number;
  /** Free pages that still hold a prefix. */
  cached: number;
  /** Pages of more than one sequence. */
  shared: number;
}

/** Counters and times of an engine since it was loaded. All engines attached to it report the same. */
export interface EngineStats {
  /** Running sequences. */
  running: number;
  /** Requests that are ready to run and wait for a place. */
  waiting: number;
  /** Sequences, running or not, that wait for a slow reader or a logitsProcessor. Absent: none. */
  blocked?: number;
  /** Blocked sequences that are not running, because others have their places. Absent: none. */
  aside?: number;
  /**
   * True when the engine is closed or broken: the device failed, or its checkpoint was written to. Absent: not known.
   */
  ended?: boolean;
  /** Forward passes so far. */
  steps: number;
  /** Tokens of the prompts of all requests. */
  promptTokens: number;
  /** Prompt tokens that were reused from cached pages instead of computed. */
  cachedTokens: number;
  /** Generated tokens. */
  completionTokens: number;
  /** The number of times that a sequence was preempted and lost its KV pages. */
  preemptions: number;
  /** Compiled schemas and patterns that are kept for later requests. Absent: not known. */
  grammars?: number;
  /** The approximate bytes of the kept or used ones, with their token masks: 256 MiB at most. Absent: not known. */
  grammarBytes?: number;
  /** KV pages of the full-attention layers, and of the sliding-window layers. */
  pages: {
    /** Pages of the full-attention layers. */
    full: PageStats;
    /** Pages of the sliding-window layers. */
    window: PageStats;
  };
  /** Time of a step. */
  stepMilliseconds: Histogram;
  /** Tokens of a step, of prompts and of completions. */
  tokensPerStep: Histogram;
  /** Time that a request waited for a place. */
  queueMilliseconds: Histogram;
  /** Time from a request to its first token. */
  firstTokenMilliseconds: Histogram;
  /** Time between two tokens of a sequence. */
  interTokenMilliseconds: Histogram;
}

export interface NativeEngine {
  readonly info: NativeEngineInfo;
  submit(request: NativeRequest): void;
  /** Cancels one choice, or all. */
  cancel(id: number, index?: number): void;
  /** Pauses or resumes the decoding of one choice. It keeps its pages until another sequence needs them. */
  pause(id: number, index: number, paused: boolean): void;
  /** Answers a "process" event. */
  supplyLogits(id: number, index: number, logits: Float32Array): void;
  stats(): EngineStats;
  /** Returns the bytes that one decode step of one sequence reads with `context` tokens in the cache. */
  bytesPerToken(context: number): number;
  /** Returns a number with which another thread of this process can `attachEngine`. */
  share(): number;
  /** Reads an adapter on a thread of the pool. */
  loadAdapter(adapter: NativeAdapter): Promise<AdapterInfo>;
  unloadAdapter(name: string): void;
  adapters(): AdapterInfo[];
  close(): Promise<void>;
}

/** A tensor of a checkpoint. */
export interface TensorSummary {
  /** Its name. */
  name: string;
  /** The file that holds it. */
  file: string;
  /** The element type, such as `"BF16"` or `"Q8_0"`. `"U8"` are the blocks and scales of MXFP4. */
  dtype: string;
  /** The sizes of its dimensions, the slowest first. */
  shape: number[];
  /** Its size in bytes. */
  bytes: number;
}

/** The result of `inspectCheckpoint`. Sizes are in bytes. */
export interface CheckpointSummary {
  /** The folder or file. */
  path: string;
  /** The naming and packing of its tensors. */
  layout: CheckpointLayout;
  /** The total size of all weight files. */
  fileBytes: number;
  /** Its config. */
  model: ModelConfig;
  /** What loading it changes; null when the files hold its weights as they are used. */
  conversion: WeightConversion | null;
  /** Its weight files. */
  files: {
    /** The path of the file. */
    path: string;
    /** Its size. */
    bytes: number;
  }[];
  /** Tensors as loading reads them, after a conversion. Their names are canonical: those of the Hugging Face layout. */
  tensors: (TensorSummary & {
    /** Its name in the file; where it is made of several tensors, their names. */
    storedName: string;
  })[];
  /** Tensors as the files hold them. Empty where loading converts nothing: then `tensors` are those of the files. */
  stored: TensorSummary[];
  /**
   * Files with its experts packed for a CPU, beside it and in the user's cache folder. Each file is read completely.
   */
  packed: {
    /** The path of the file. */
    path: string;
    /** Its size. */
    bytes: number;
    /** The damage of the file. Null: none. */
    damage: string | null;
  }[];
}

/** The plan of an engine on one backend. */
export interface NativeBackendPlan {
  /** `"cpu"`, `"cuda"` or `"metal"`. */
  backend: string;
  /** Name of the processor or GPU. Empty: the memory was given, so it is not known. */
  device: string;
  /** Instruction set of the CPU, or architecture of the GPU; empty if that is not known. */
  isa: string;
  /** "exact": float32 activations. "fast": bf16 activations with float32 sums. */
  numerics: "exact" | "fast";
  /** Element type of keys and values. */
  kvCacheDtype: "f32" | "bf16" | "fp8";
  /** Attention, embedding and head: as in the files, or a lossy 8-bit copy. */
  denseWeights: "bf16" | "q8";
  /** The format of the experts. */
  expertWeights: "mxfp4" | "bf16";
  /** Whether the packed experts are in a file of their own, which is mapped. */
  expertsInFile: boolean;
  /** Whether the wanted conversations run at once, and nothing is read from a disk twice. */
  fits: boolean;
  /** The conversations that must run at once. */
  wanted: {
    /** Their number: `maxSequences` if `contextLength` is given too, else 1. */
    conversations: number;
    /** Tokens of each: `contextLength`; if that is not given, 4096 or the model's. */
    contextLength: number;
    /** How many of this length are possible. */
    possible: number;
    /** The memory that must be free for the wanted ones, in bytes. */
    bytes: number;
  };
  /** Memory in bytes, unless it says tokens. The names are those of `engine.info.memory`. */
  memory: {
    /** What is free for the engine. */
    availableBytes: number;
    /** The source of that number: `"given"`, or what limits this machine. */
    availableReason: string;
    /** All memory of the device; 0: not known. */
    totalBytes: number;
    /** The weights in the files of the checkpoint. */
    weightsBytes: number;
    /** Those of them that steps read in the mapped files. They should stay in memory. */
    mappedBytes: number;
    /** Copies of weights beside the files, and adapters that requests choose; with CUDA all weights. */
    packedBytes: number;
    /** The part of `packedBytes` that adapters take. */
    adapterBytes: number;
    /** Activations, and the most work memory that a step takes. */
    workspaceBytes: number;
    /** For the process, or for the driver and its recorded graphs. */
    reservedBytes: number;
    /** What is left for a KV cache; 0: the rest does not fit. */
    leftBytes: number;
    /** The KV cache that an engine makes of it without `kvCache.bytes`; 0: it refuses to load. */
    kvBytes: number;
    /** The capacity of this KV cache in tokens. */
    kvTokens: number;
  };
  /** The limits of that engine. They have the names of their options. */
  limits: {
    /** Tokens of one sequence; 0: it refuses to load. */
    contextLength: number;
    /** Running sequences. */
    maxSequences: number;
    /** Tokens of one step. */
    maxBatchTokens: number;
  };
  /** The conversations that run at once if the KV cache takes all that is left, for each of its types. */
  capacities: {
    /** Element type of the cache. */
    dtype: "f32" | "bf16" | "fp8";
    /** The longest context of the wanted number of conversations; 0: none. */
    longestContext: number;
    /** Their number by their length; at most 4096. */
    conversations: {
      /** Tokens of each. */
      contextLength: number;
      /** How many run at once. */
      count: number;
    }[];
  }[];
  /** On Metal, the kernels of two steps; empty for other backends, and with `repeatable`. */
  kernels: {
    /** `"decode"`: one token at the end of the wanted context. `"prefill"`: the first batch of a prompt. */
    step: "decode" | "prefill";
    /** Tokens of the step. */
    tokens: number;
    /** Tokens in the KV cache before it. */
    keys: number;
    /** The kernels, in the order of their first dispatch. */
    kernels: {
      /** Name of the function in `kernels/metal`. */
      name: string;
      /** Dispatches of the step. */
      dispatches: number;
      /** Threadgroups of its first dispatch: x, y, z. */
      threadgroups: number[];
      /** Threads of a threadgroup. */
      threads: number;
      /** Bytes that all its dispatches must move: each once, and of experts those that are chosen. */
      bytes: number;
      /** The part of `bytes` that is weights. */
      weightBytes: number;
    }[];
  }[];
}

/** What a plan is made for. */
export interface NativePlanQuery {
  /** A folder with a config.json, or another name that the addon opens. */
  model: string;
  /** The weights are in files, so packed experts can be kept beside them. */
  hasFiles: boolean;
  options: NativeEngineOptions;
  /** Instruction set of the CPU; empty: the engine's choice here. */
  isa: string;
  /** Bytes that are free for the engine; 0: what is free here. */
  memoryBytes: number;
  /** Tokens of each conversation that must fit; 0: the planner's own number. */
  wantedContext: number;
  wantedConversations: number;
}

export interface NativeAddon extends NativeTokenizer {
  /** The file that was loaded. */
  path?: string;
  loadEngine(
    path: string,
    options: NativeEngineOptions,
    onEvents: (events: NativeEvent[]) => void,
    onProgress: ((progress: LoadProgress) => void) | null,
  ): { promise: Promise<NativeEngine>; cancel(): void };
  /** Does the same synchronously: blocks this thread. */
  loadEngineNow(path: string, options: NativeEngineOptions, onEvents: (events: NativeEvent[]) => void): NativeEngine;
  /** Attaches to the engine of another thread: separate requests and events, the same weights, cache and steps. */
  attachEngine(handle: number, onEvents: (events: NativeEvent[]) => void): NativeEngine;
  inspect(path: string): Promise<CheckpointSummary>;
  /** Plans the memory of an engine from a config. */
  planModel(query: NativePlanQuery): Promise<NativeBackendPlan & { model: ModelConfig }>;
  /** Measures the bytes per second that `threads` threads read from a buffer of `bytes`; the median of 7 runs. */
  memoryBandwidth(bytes: number, threads: number): number;
  listBackends(): NativeBackendStatus[];
  /** The CUDA module of a package of its own. One beside the addon comes first, and a module in use stays. */
  useCudaModule(file: string): void;
  /** The resources that the process may use, and their limiting factor: affinity, cgroups, ulimits. */
  usable(): { threads: number; threadsReason: string; memoryBytes: number; memoryReason: string };
  /** The environment variables with values that native code cannot use, with one sentence for each. */
  environmentProblems(): Record<string, string>;
  errorCodes(): string[];
  /** Draws once from a row of logits, exactly as the engine draws the token with this index of a completion. */
  sample(
    logits: Float32Array,
    params: NativeSamplingParams,
    position: number,
    context?: NativeSamplingContext,
  ): { token: number; logprob: number; top: TokenLogprob[] };
}

let loaded: NativeAddon | undefined;

/** @throws GptOssError ADDON_NOT_FOUND with every path that was tried, the reason of its failure and the remedy. */
export function addon(): NativeAddon {
  loaded ??= inThisRealm(load());
  return loaded;
}

const platform = `${process.platform}-${process.arch}`;

/**
 * Returns the possible paths of the addon: built here, from the platform's package, prebuilt in this package. Each URL
 * is written out separately, so that file tracers (Next.js) find it.
 */
function places(ofPackage: string | undefined): string[] {
  const built = new URL(/* webpackIgnore: true */ "../build/Release/gpt_oss.node", import.meta.url);
  const prebuilt = new URL(/* webpackIgnore: true */ `../prebuilds/${platform}/gpt_oss.node`, import.meta.url);
  return [fileURLToPath(built), ...(ofPackage ? [ofPackage] : []), fileURLToPath(prebuilt)];
}

function load(): NativeAddon {
  packageManifest(); // throws in a bundle
  const packaged = addonPackage(platform);
  const tried = places(packaged?.file);
  const file = tried.find((place) => existsSync(place));
  const failure = { root: packageRoot, platform, tried };
  if (!file) throw addonNotFound(failure);
  if (file === packaged?.file && packaged.problem) throw addonNotFound({ ...failure, mismatch: packaged.problem });
  try {
    const native = createRequire(import.meta.url)(file) as NativeAddon;
    native.path = file;
    const cuda = cudaPackage(platform);
    if (cuda) native.useCudaModule(cuda.file);
    return native;
  } catch (cause) {
    const reason = isError(cause) ? cause.message.split("\n")[0]! : String(cause);
    throw addonNotFound({ ...failure, broken: { file, reason, cause } });
  }
}
