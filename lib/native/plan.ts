import type { NativeEngineOptions } from "./engine.js";

/** Plans of memory as the addon makes them. */

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
