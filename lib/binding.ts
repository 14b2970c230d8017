import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { addonNotFound } from "./addon-not-found.js";
import { inThisRealm } from "./common/realm.js";
import { isError } from "./errors.js";
import { packageManifest, packageRoot } from "./package-root.js";

/** How far `Engine.load` has come; `onProgress` gets it. */
export interface LoadProgress {
  /** "open": files are opened and checked; "pack": weights are copied or reordered; "ready": all is done. */
  phase: "open" | "pack" | "ready";
  /** Bytes that are loaded so far. */
  loadedBytes: number;
  /** Bytes that are to be loaded. */
  totalBytes: number;
  /** The file of packed weights that this start makes for later ones. */
  writes?: string;
}

/** What the addon takes: every value present, 0 where the addon chooses. */
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
  packedWeights: string;
  repeatable: boolean;
}

export { packageRoot };

/** The one file that finds, loads and types the addon. */

export interface NativeTokenizer {
  /**
   * Text that spells out one of these special tokens becomes that token; all other text is ordinary. Null: there are more
   * than `most` tokens, and not all of the text was read.
   */
  tokenizerEncode(text: string, allowedSpecial?: Uint32Array, most?: number): Uint32Array | null;
  /** The same into `target`, as far as it reaches; returns how many tokens the text has. */
  tokenizerEncodeInto(text: string, target: Uint32Array, allowedSpecial?: Uint32Array): number;
  /** Several texts, each by itself, on a thread of the pool; after `cancel` the promise soon rejects with CANCELLED. */
  tokenizerEncodeAsync(
    texts: readonly string[],
    allowedSpecial?: Uint32Array,
    most?: number,
  ): { promise: Promise<(Uint32Array | null)[]>; cancel(): void };
  tokenizerCount(text: string): number;
  /** Bytes of ordinary tokens and of the 1,091 special ones; throws INVALID_ARGUMENT on an id above 201088. */
  tokenizerDecode(ids: Uint32Array): Uint8Array;
  /** The bytes of all 201,089 tokens one after the other, and where each of them ends. */
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

/** What a draw depends on beside logits and params; `lib/generation/sampling.ts` defines how. */
export interface NativeSamplingContext {
  /** Which of the n choices. */
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
  /** From there to the first token. */
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

/** `index` is which of the request's n choices it is about. Every choice ends with one "done", or all with one "error". */
export type NativeEvent = {
  id: number;
  index: number;
} /** Of a request with a constraint, once: it is compiled and the request waits to run. `tool` null: the final format. */ & (
  | { kind: "accepted"; relaxed: { tool: string | null; reason: string }[] }
  | { kind: "token"; token: number; text: string; logprob: number; top?: TokenLogprob[] }
  /** A row of logits for the request's logitsProcessor; the choice waits until `supplyLogits` brings it back. */
  | { kind: "process"; tokens: Uint32Array; logits: Float32Array }
  | { kind: "logits"; logits: Float32Array }
  /** `text`: what was held back as a possible stop string, or an incomplete character, and is text after all. */
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
  /** Choices that share the prompt's pages; choice i draws from the random stream (seed, i). */
  n: number;
  maxTokens: number;
  /** The first so many tokens are not stop tokens: those are banned until then. */
  minTokens: number;
  stopTokens: Uint32Array;
  /** Texts that end the completion; they are not part of its text. */
  stop: string[];
  sampling: NativeSamplingParams;
  bias: { tokens: Uint32Array; values: Float32Array };
  topLogprobs: number;
  /** Higher runs sooner; no more than waiting for a minute is worth. */
  priority: number;
  /** Who asks: tenants take turns, and share the queue. */
  tenant: string;
  /** Prefixes are shared within one salt only. */
  cacheSalt: string;
  /** Logits go through JavaScript before each draw. */
  processed: boolean;
  /** JSON text of a `Constraint`, checked; the addon compiles it on a thread of its own. */
  constraint: string | null;
  /** > 0: the logits of that many last positions of the prompt instead of a completion. */
  logitsLast: number;
}

/** The config of a checkpoint as its files state it. */
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
  /** Rows of the embedding, and so logits of a position. */
  vocab: number;
  /** Tokens that a layer of type "sliding" sees. */
  slidingWindow: number;
  /** Added to the mean square in RMSNorm. */
  rmsEps: number;
  /** Bound of the clamp in SwiGLU. */
  swigluLimit: number;
  /** Factor of the sigmoid in SwiGLU. */
  swigluAlpha: number;
  /** Tokens of a sequence that the model was made for. */
  maxContext: number;
  /** Number of parameters. */
  parameters: number;
  /** What the attention of each layer sees. */
  layerTypes: ("sliding" | "full")[];
  /** Rotary embedding, with the scaling of YaRN. */
  rope: {
    /** Base of the frequencies. */
    theta: number;
    /** By how much the context is stretched. */
    factor: number;
    /** Rotations in the original context from which on a frequency stays as it is. */
    betaFast: number;
    /** Rotations in the original context below which a frequency is divided by `factor`. */
    betaSlow: number;
    /** Tokens of the context before it was stretched. */
    originalContext: number;
    /** Whether the two borders are rounded to whole dimensions. */
    truncate: boolean;
  };
  /** Ids that end a completion, as the checkpoint lists them. */
  eosTokens: number[];
}

export interface NativeEngineInfo {
  /** The config of the checkpoint, and the layout of its files. */
  model: ModelConfig & {
    /** How its tensors are named and packed. */
    layout: "huggingface" | "original" | "synthetic";
  };
  /** "cpu" or "cuda". */
  backend: string;
  /** Name of the processor or GPU. */
  device: string;
  /** Instruction set of the CPU, or architecture of the GPU. */
  isa: string;
  /** Worker threads of the CPU backend. */
  threads: number;
  /** Why so many: "asked for", the cores there are, or the limit that holds: affinity, the cgroup's quota. */
  threadsReason: string;
  /**
   * Memory, in bytes unless it says tokens. With `denseWeights: "q8"`, matrices that are copied are not read from
   * the files any more.
   */
  memory: {
    /** Mapped weight files. */
    weightsBytes: number;
    /** Copies of weights beside the files. */
    packedBytes: number;
    /** Activations. */
    workspaceBytes: number;
    /** The KV cache. */
    kvBytes: number;
    /** Tokens that the KV cache holds. */
    kvTokens: number;
    /** Memory that could be used before anything was loaded, page cache included. */
    availableBytes: number;
    /** Where that number comes from: the machine, the cgroup, or `ulimit -v`. */
    availableReason: string;
  };
  /** Element type of keys and values. */
  kvCacheDtype: "f32" | "bf16" | "fp8";
  /** Of activations: float32, or bf16 with float32 sums. */
  numerics: "exact" | "fast";
  /** Attention, embedding and head as they are in the files, or a lossy copy of them in 8 bits. */
  denseWeights: "bf16" | "q8";
  /** Where the experts are in the backend's own order: nowhere, a copy in memory, or a file; `reason`: why no file. */
  packedWeights: {
    /** Where they are. */
    in: "none" | "memory" | "file";
    /** The file. */
    path?: string;
    /** Why there is no file. */
    reason?: string;
  };
  /** Whether a request gives the same bits in any batch. */
  repeatable: boolean;
  /** Whether beginnings of prompts are reused. */
  prefixCache: boolean;
  /** The limits that hold, after all defaults. They have the names of their options. */
  limits: {
    /** Tokens of one sequence, prompt and output together. */
    contextLength: number;
    /** Sequences that run at once. */
    maxSequences: number;
    /** Requests that wait. */
    maxQueue: number;
    /** Tokens of one step. */
    maxBatchTokens: number;
  };
}

/**
 * How values are distributed since the engine was loaded. Times are in milliseconds. Percentiles are exact within
 * 10 %.
 */
export interface Histogram {
  /** How many values. */
  count: number;
  /** Their sum. */
  sum: number;
  /** Half of the values are at most this. */
  p50: number;
  /** Nine of ten are at most this. */
  p90: number;
  /** 99 of 100 are at most this. */
  p99: number;
  /** The largest. */
  max: number;
  /**
   * How many values lie from `from` on, below the next bucket; 12 % wide, empty ones are left out. Absent where only the
   * sums are kept.
   */
  buckets?: {
    /** The least value of the bucket. */
    from: number;
    /** How many values it has. */
    count: number;
  }[];
}

/** Pages of 64 tokens of one group of layers. Cached ones hold a prefix that nobody uses now; they count as free too. */
export interface PageStats {
  /** All pages. */
  total: number;
  /** Pages that can be taken. */
  free: number;
  /** Free pages that still hold a prefix. */
  cached: number;
  /** Used by more than one sequence. */
  shared: number;
}

/** Counters and times of an engine since it was loaded. All engines attached to it have the same. */
export interface EngineStats {
  /** Sequences that have a place. */
  running: number;
  /** Requests that could run if they had one. */
  waiting: number;
  /** Sequences, running or not, that wait for their client: a reader that is behind, a logitsProcessor. Absent: none. */
  blocked?: number;
  /** Those of the blocked ones that are not running: others have their places. Absent: none. */
  aside?: number;
  /** Closed, or broken: the device failed, or its checkpoint was written to. Nothing runs any more. Absent: not known. */
  ended?: boolean;
  /** Forward passes so far. */
  steps: number;
  /** Tokens of the prompts of all requests. */
  promptTokens: number;
  /** Prompt tokens that were not computed because their pages were found. */
  cachedTokens: number;
  /** Tokens that were generated. */
  completionTokens: number;
  /** How often a sequence gave up its KV pages to another one. */
  preemptions: number;
  /** Compiled schemas and patterns that are kept for requests to come. Absent: not known. */
  grammars?: number;
  /** Bytes of memory, about, of those that are kept or in use, with the masks made of them: 256 MiB at most. Absent: not known. */
  grammarBytes?: number;
  /** KV pages of the layers that see everything, and of those with a sliding window. */
  pages: {
    /** Of the layers that see everything. */
    full: PageStats;
    /** Of the layers with a sliding window. */
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
  /** Of one choice, or of all. */
  cancel(id: number, index?: number): void;
  /** Stops and restarts the decoding of one choice; it keeps its pages while nobody else needs them. */
  pause(id: number, index: number, paused: boolean): void;
  /** The answer to a "process" event. */
  supplyLogits(id: number, index: number, logits: Float32Array): void;
  stats(): EngineStats;
  /** Bytes that one decode step of one sequence reads with `context` tokens in the cache. */
  bytesPerToken(context: number): number;
  /** A number with which another thread of this process can `attachEngine`. */
  share(): number;
  close(): Promise<void>;
}

/** What `inspectCheckpoint` finds. Sizes are in bytes. */
export interface CheckpointSummary {
  /** The folder or file. */
  path: string;
  /** How its tensors are named and packed. */
  layout: "huggingface" | "original" | "synthetic";
  /** Size of all weight files together. */
  fileBytes: number;
  /** Its config. */
  model: ModelConfig;
  /** Its weight files. */
  files: {
    /** Where the file lies. */
    path: string;
    /** Its size. */
    bytes: number;
  }[];
  /** By canonical (Hugging Face) name; `storedName` is what the file calls it. */
  tensors: {
    /** Canonical name. */
    name: string;
    /** Name in the file. */
    storedName: string;
    /** The file that holds it. */
    file: string;
    /** Element type, as the file has it. */
    dtype: string;
    /** Sizes of its dimensions, the slowest first. */
    shape: number[];
    /** Its size. */
    bytes: number;
  }[];
  /** Files with its experts packed for a CPU, beside it and in the user's cache folder, all of them read; `damage` or null. */
  packed: {
    /** Where the file lies. */
    path: string;
    /** Its size. */
    bytes: number;
    /** What is wrong with it; null: nothing. */
    damage: string | null;
  }[];
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
  /** The same, here and now: blocks this thread. */
  loadEngineNow(path: string, options: NativeEngineOptions, onEvents: (events: NativeEvent[]) => void): NativeEngine;
  /** The engine that another thread shared: its own requests and events, the same weights, cache and steps. */
  attachEngine(handle: number, onEvents: (events: NativeEvent[]) => void): NativeEngine;
  inspect(path: string): Promise<CheckpointSummary>;
  /** Bytes per second that `threads` threads read from a buffer of `bytes`; the median of 7 runs. */
  memoryBandwidth(bytes: number, threads: number): number;
  listBackends(): NativeBackendStatus[];
  /** What the process may use, and why no more: affinity, cgroups, ulimits. */
  usable(): { threads: number; threadsReason: string; memoryBytes: number; memoryReason: string };
  /** Variables that native code reads and cannot use: a sentence for each. */
  environmentProblems(): Record<string, string>;
  errorCodes(): string[];
  /** One draw from one row of logits, exactly as the engine draws the token with this index of a completion. */
  sample(
    logits: Float32Array,
    params: NativeSamplingParams,
    position: number,
    context?: NativeSamplingContext,
  ): { token: number; logprob: number; top: TokenLogprob[] };
}

let loaded: NativeAddon | undefined;

/** @throws GptOssError ADDON_NOT_FOUND with every place that was tried, why it did not work and what to do. */
export function addon(): NativeAddon {
  loaded ??= inThisRealm(load());
  return loaded;
}

/** Where the addon can lie. Tracers of Next.js and others find it because each name is written out here, alone. */
function places(): string[] {
  const platform = `${process.platform}-${process.arch}`;
  const built = new URL(/* webpackIgnore: true */ "../build/Release/gpt_oss.node", import.meta.url);
  const prebuilt = new URL(/* webpackIgnore: true */ `../prebuilds/${platform}/gpt_oss.node`, import.meta.url);
  return [fileURLToPath(built), fileURLToPath(prebuilt)];
}

function load(): NativeAddon {
  packageManifest(); // throws in a bundle
  const tried = places();
  const file = tried.find((place) => existsSync(place));
  if (!file) throw addonNotFound({ root: packageRoot, tried });
  try {
    const native = createRequire(import.meta.url)(file) as NativeAddon;
    native.path = file;
    return native;
  } catch (cause) {
    const reason = isError(cause) ? cause.message.split("\n")[0]! : String(cause);
    throw addonNotFound({ root: packageRoot, tried, broken: { file, reason, cause } });
  }
}
