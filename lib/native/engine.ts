import type { CheckpointLayout, ModelConfig, WeightConversion } from "./checkpoint.js";
import type { NativeRequest } from "./request.js";

/** An engine of the addon: its options, info, counters and calls. */

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
