import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GptOssError } from "./errors.js";
import type { LoadProgress, NativeEngineOptions } from "./options.js";

/** The one file that finds, loads and types the addon. */

export interface NativeTokenizer {
  /** Text that spells out one of these special tokens becomes that token; all other text is ordinary. */
  tokenizerEncode(text: string, allowedSpecial?: Uint32Array): Uint32Array;
  /** The same on a thread of the pool. */
  tokenizerEncodeAsync(text: string, allowedSpecial?: Uint32Array): Promise<Uint32Array>;
  tokenizerCount(text: string): number;
  /** Bytes of ordinary tokens and of the 1,091 special ones; throws INVALID_ARGUMENT on an id above 201088. */
  tokenizerDecode(ids: Uint32Array): Uint8Array;
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
  /** 64 bits. */
  seed: bigint;
  maskReserved: boolean;
}

export interface NativeTimings {
  queueMilliseconds: number;
  prefillMilliseconds: number;
  decodeMilliseconds: number;
}

export type NativeEvent = { id: number } & (
  | { kind: "token"; token: number; logprob: number }
  | { kind: "logits"; logits: Float32Array }
  | { kind: "done"; reason: "stop" | "length" | "cancelled"; timings: NativeTimings }
  | { kind: "error"; error: Error }
);

export interface NativeRequest {
  id: number;
  prompt: Uint32Array;
  maxTokens: number;
  stopTokens: Uint32Array;
  sampling: NativeSamplingParams;
  /** > 0: the logits of that many last positions of the prompt instead of a completion. */
  logitsLast: number;
}

/** The config of a checkpoint as its files state it. */
export interface ModelConfig {
  layers: number;
  hidden: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  experts: number;
  expertsPerToken: number;
  vocab: number;
  slidingWindow: number;
  rmsEps: number;
  swigluLimit: number;
  swigluAlpha: number;
  maxContext: number;
  parameters: number;
  layerTypes: ("sliding" | "full")[];
  rope: {
    theta: number;
    factor: number;
    betaFast: number;
    betaSlow: number;
    originalContext: number;
    truncate: boolean;
  };
  eosTokens: number[];
}

export interface NativeEngineInfo {
  model: ModelConfig & { layout: "huggingface" | "original" };
  backend: string;
  device: string;
  isa: string;
  threads: number;
  /** Bytes: mapped weight files, copies beside them, activations, KV cache; and the tokens that the cache holds. */
  memory: { weightsBytes: number; packedBytes: number; workspaceBytes: number; kvBytes: number; kvTokens: number };
  limits: { contextLength: number; maxSequences: number; maxQueue: number; maxBatchTokens: number };
}

export interface EngineStats {
  running: number;
  waiting: number;
  steps: number;
  /** Sum over all steps. */
  stepMilliseconds: number;
  promptTokens: number;
  completionTokens: number;
  /** How often a sequence gave up its KV pages to an older one. */
  preemptions: number;
  pagesTotal: number;
  pagesFree: number;
}

export interface NativeEngine {
  readonly info: NativeEngineInfo;
  submit(request: NativeRequest): void;
  cancel(id: number): void;
  stats(): EngineStats;
  /** Bytes that one decode step of one sequence reads with `context` tokens in the cache. */
  bytesPerToken(context: number): number;
  close(): Promise<void>;
}

export interface CheckpointSummary {
  path: string;
  layout: "huggingface" | "original";
  fileBytes: number;
  model: ModelConfig;
  files: { path: string; bytes: number }[];
  /** By canonical (Hugging Face) name; `storedName` is what the file calls it. */
  tensors: { name: string; storedName: string; file: string; dtype: string; shape: number[]; bytes: number }[];
}

export interface NativeAddon extends NativeTokenizer {
  /** The file that was loaded. */
  readonly path?: string;
  loadEngine(
    path: string,
    options: NativeEngineOptions,
    onEvents: (events: NativeEvent[]) => void,
    onProgress: ((progress: LoadProgress) => void) | null,
  ): { promise: Promise<NativeEngine>; cancel(): void };
  inspect(path: string): Promise<CheckpointSummary>;
  /** Bytes per second that `threads` threads read from a buffer of `bytes`; the median of 7 runs. */
  memoryBandwidth(bytes: number, threads: number): number;
  listBackends(): NativeBackendStatus[];
  errorCodes(): string[];
  /** One draw from one row of logits, exactly as the engine draws the token with this index of a completion. */
  sample(logits: Float32Array, params: NativeSamplingParams, position: number): { token: number; logprob: number };
}

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** Folder that `package.json` lies in; lib/ and dist/ are both one level below it. */
export const packageRoot = root;

let loaded: NativeAddon | undefined;

/** @throws GptOssError ADDON_NOT_FOUND with every place that was tried and why it did not work. */
export function addon(): NativeAddon {
  loaded ??= load();
  return loaded;
}

function load(): NativeAddon {
  const require = createRequire(import.meta.url);
  const bindings = require("bindings") as (options: object) => NativeAddon;
  const platform = `${process.platform}-${process.arch}`;
  try {
    return bindings({
      bindings: "gpt_oss",
      module_root: root,
      try: [
        ["module_root", "build", "Release", "bindings"],
        ["module_root", "prebuilds", platform, "bindings"],
        ["module_root", "prebuilds", platform, "gpt_oss.napi.node"],
      ],
    });
  } catch (cause) {
    const tried = (cause as { tries?: string[] }).tries ?? [];
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    const present = tried.filter((file) => existsSync(file));
    throw new GptOssError(
      "ADDON_NOT_FOUND",
      present.length > 0
        ? `The native addon ${present[0]} does not load here: ${reason}`
        : `No native addon for ${platform} was found (tried ${tried.join(", ") || reason}). Build it with "npm run build" in ${root}; that needs CMake >= 3.20 and a C++20 compiler.`,
      { cause },
    );
  }
}
