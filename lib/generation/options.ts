import path from "node:path";
import type { LoadProgress, NativeEngineOptions } from "../binding.js";
import { checkSignal } from "../common/abort.js";
import { readOptions, refuseUnknown } from "../common/unknown-option.js";
import { backendNames, backendOfEnvironment, isBackend } from "../environment.js";
import { invalidArgument } from "../errors.js";
import { type AdapterOptions, readAdapters } from "./adapters.js";

/** Options of `Engine.load`: defaults, checks and meaning, in that order. No other file defines them. */

/** Type and size of the KV cache. */
export interface KvCacheOptions {
  /**
   * Element type of keys and values. The CPU supports `"f32"`, its default, and `"bf16"`, which takes half the memory
   * and rounds the values. CUDA supports `"bf16"`, its default, and `"fp8"` (e4m3), which takes half of that and is
   * coarser.
   */
  dtype?: "f32" | "bf16" | "fp8";
  /**
   * Memory of the cache: bytes, `"4GiB"`, `"512MiB"`, or `"auto"`. On a GPU, `"auto"` is all memory that the weights
   * leave free. On a CPU, it is four full contexts, but at most half of the free memory, and at most what the weights
   * leave, where that is more than 1 GiB.
   */
  bytes?: number | string;
}

/** Options of `Engine.load`. */
export interface EngineOptions {
  /** `"auto"` selects the best available backend: a GPU that the CUDA module supports, else the CPU. */
  backend?: "auto" | "cpu" | "cuda" | `cuda:${number}` | "metal";
  /**
   * The maximum number of tokens of one sequence, prompt and output. Default: the model's limit, or the KV cache's
   * capacity.
   */
  contextLength?: number;
  /** The maximum number of running sequences. Further ones wait in the queue. Default 64. */
  maxSequences?: number;
  /**
   * The maximum number of waiting requests. The next one is refused with `QUEUE_FULL`. As many requests with slow
   * readers may be set aside without a place in the queue. Beyond that, the one set aside longest rejects with
   * `QUEUE_FULL`. Default 1024.
   */
  maxQueue?: number;
  /**
   * The maximum number of tokens of one step, prompt chunks and decodes together. Default 512 on the CPU, 256 with
   * numerics "exact", 2048 with CUDA, 512 with Metal.
   */
  maxBatchTokens?: number;
  /** Type and size of the KV cache. */
  kvCache?: KvCacheOptions;
  /** Reuse of a prompt's beginning that it shares with earlier and concurrent requests. Default true. */
  prefixCache?: boolean;
  /**
   * Worker threads of the CPU backend. `"auto"`: one per core available to the process, but at most the CPU quota of
   * its cgroup, rounded up. `engine.info.threadsReason` gives the reason.
   */
  threads?: number | "auto";
  /**
   * Attention, embedding and head as in the files, `"bf16"`, or on the CPU and on Metal as `"q8"`: copies made while
   * loading, in blocks of 32 int8 with a float16 scale. The error of a weight is at most 1/254 of the largest weight of
   * its block. A decode step reads half the dense bytes. The copies take half the memory of the originals, which are
   * read once. With numerics `"fast"` a CPU's products round the weights to bf16, an additional error of 2^-9 each; those
   * of Metal do not. On the golden models the logits move by 1.3 to 6.3 % (rms), most where another expert is chosen.
   * `UNSUPPORTED` for CUDA; `"auto"` then takes Metal where it works, else the CPU.
   */
  denseWeights?: "bf16" | "q8";
  /**
   * The format of experts that a merged fine-tune stores as floats. `"mxfp4"`, the default, quantises them as the release
   * is quantised, which changes normal values by 11 % (rms). `"bf16"` keeps them on the CPU: what is stored as BF16
   * keeps its bits, F32 and F16 are rounded to nearest. Experts then take 3.8 times the memory, and a decode step reads
   * 3.8 times their bytes. `UNSUPPORTED` for a GPU, and for a checkpoint whose experts are stored in MXFP4, which has
   * nothing to keep.
   *
   * @example
   * ```ts
   * const engine = await Engine.load("/models/merged-fine-tune", { backend: "cpu", expertWeights: "bf16" });
   * ```
   */
  expertWeights?: "mxfp4" | "bf16";
  /**
   * `"exact"`: float32 activations, on every CPU. `"fast"`: matrix products read activations as bf16 and add in
   * float32. It is available on GPUs and on CPUs that multiply bf16 (AMX, AVX512_BF16, NEON's BF16), and is the default
   * there. All other operations stay float32. `engine.info.numerics` has the choice. On the golden models "fast" moves
   * the logits by 0.3 to 0.7 % (rms).
   */
  numerics?: "exact" | "fast";
  /**
   * The place of the packed experts on a CPU with AMX: a copy in the order in which the CPU reads them. It has the same
   * size as in the files and makes decoding 1.3 to 1.5 times as fast. `"auto"`: a file for a checkpoint of 1 GiB or
   * more. The first start makes it in the folder `.gpt-oss-node` beside the checkpoint, or else in the user's cache
   * folder; only there for a model in the Hugging Face cache, of LM Studio or of Ollama. Later starts map it. For a smaller checkpoint, or where no file can be made, `"memory"`: each start packs
   * its own copy, shared with no other process. Any other text is the folder for the file. `engine.info.packedWeights`
   * has the choice. Other CPUs and GPUs make no copy.
   */
  packedWeights?: "auto" | "memory" | (string & {});
  /**
   * The same request gives the same bits in any batch. On the CPU this always holds. On a GPU it slows down prefill.
   * Without it, a GPU still gives the same bits in every run of the same load.
   */
  repeatable?: boolean;
  /**
   * LoRA adapters in PEFT's files: for each name a folder, or options. A request chooses one by its name. Those with
   * `merge: true` become part of the weights, in this order, and all requests have them. Default: none.
   */
  adapters?: Readonly<Record<string, string | AdapterOptions>>;
  /** Called while loading. An exception ends the loading, and `load` rejects with it. */
  onProgress?: (progress: LoadProgress) => void;
  /** Aborts the engine's loading too: `load` then rejects with `signal.reason`. */
  signal?: AbortSignal;
}

const known = new Set([
  "backend",
  "contextLength",
  "maxSequences",
  "maxQueue",
  "maxBatchTokens",
  "kvCache",
  "prefixCache",
  "threads",
  "denseWeights",
  "expertWeights",
  "numerics",
  "packedWeights",
  "repeatable",
  "adapters",
  "onProgress",
  "signal",
]);

/** Options of `Engine.load`, read and checked. */
export interface CheckedEngineOptions {
  native: NativeEngineOptions;
  signal: EngineOptions["signal"] | undefined;
  onProgress: EngineOptions["onProgress"] | undefined;
}

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or an invalid value */
export function readEngineOptions(given: EngineOptions): CheckedEngineOptions {
  const options = readOptions("Engine.load", given, known, "EngineOptions");
  const { signal, onProgress } = options;
  return { native: nativeEngineOptions(options), signal, onProgress };
}

export function nativeEngineOptions(options: EngineOptions): NativeEngineOptions {
  const { backend = "auto", threads = "auto", kvCache = {}, onProgress, signal } = options;
  if (typeof backend !== "string" || !isBackend(backend)) throw invalidArgument("backend", backendNames, backend);
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw invalidArgument("onProgress", "a function", onProgress);
  }
  checkSignal(signal);
  if (kvCache === null || typeof kvCache !== "object") throw invalidArgument("kvCache", "an object", kvCache);
  refuseUnknown("kvCache", kvCache, new Set(["dtype", "bytes"]));
  checkOneOf("kvCache.dtype", kvCache.dtype, ["f32", "bf16", "fp8"]);
  checkOneOf("prefixCache", options.prefixCache, [false, true]);
  checkOneOf("denseWeights", options.denseWeights, ["bf16", "q8"]);
  checkOneOf("expertWeights", options.expertWeights, ["mxfp4", "bf16"]);
  checkOneOf("numerics", options.numerics, ["exact", "fast"]);
  checkOneOf("repeatable", options.repeatable, [false, true]);
  return {
    backend: backend === "auto" ? backendOfEnvironment() : backend,
    threads: threads === "auto" ? 0 : checkInteger("threads", threads, 1, 1024),
    contextLength: optionalInteger("contextLength", options.contextLength, 0, 1, 2 ** 31 - 1),
    maxSequences: optionalInteger("maxSequences", options.maxSequences, 64, 1, 4096),
    maxQueue: optionalInteger("maxQueue", options.maxQueue, 1024, 1, 2 ** 31 - 1),
    maxBatchTokens: optionalInteger("maxBatchTokens", options.maxBatchTokens, 0, 1, 65536),
    kvBytes: parseBytes("kvCache.bytes", kvCache.bytes === undefined ? "auto" : kvCache.bytes),
    kvDtype: kvCache.dtype ?? "auto",
    prefixCache: options.prefixCache ?? true,
    numerics: options.numerics ?? "auto",
    denseWeights: options.denseWeights ?? "bf16",
    expertWeights: options.expertWeights ?? "mxfp4",
    packedWeights: packedPlace(options.packedWeights === undefined ? "auto" : options.packedWeights),
    repeatable: options.repeatable ?? false,
    adapters: readAdapters(options.adapters),
  };
}

function packedPlace(where: unknown): string {
  if (typeof where !== "string" || where === "" || where.includes("\0")) {
    throw invalidArgument("packedWeights", '"auto", "memory" or a folder', where);
  }
  return where === "auto" || where === "memory" ? where : path.resolve(where);
}

/** @throws GptOssError INVALID_ARGUMENT for a value outside `values`; undefined is the default */
function checkOneOf(name: string, value: unknown, values: readonly unknown[]): void {
  if (value === undefined || values.includes(value)) return;
  throw invalidArgument(name, values.map((known) => JSON.stringify(known)).join(" or "), value);
}

export function checkInteger(name: string, value: unknown, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw invalidArgument(name, `an integer in [${least}, ${most}]`, value);
  }
  return value;
}

export function optionalInteger(name: string, value: unknown, fallback: number, least: number, most: number): number {
  return value === undefined ? fallback : checkInteger(name, value, least, most);
}

const units = { "": 1, KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30, TIB: 2 ** 40, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** Parses a number of bytes: `4096`, `"512MiB"`, `"80GB"`; a unit has any case. `"auto"` gives 0. */
export function parseBytes(name: string, value: unknown): number {
  if (value === "auto") return 0;
  const expected = 'a positive number of bytes, a size such as "4GiB", or "auto"';
  const match = typeof value === "string" ? /^(\d+(?:\.\d+)?) ?([KMGT]i?B)?$/i.exec(value) : undefined;
  const bytes = match ? Number(match[1]) * units[(match[2] ?? "").toUpperCase() as keyof typeof units] : value;
  if (typeof bytes !== "number" || !(bytes >= 1) || bytes > Number.MAX_SAFE_INTEGER) {
    throw invalidArgument(name, expected, value);
  }
  return Math.floor(bytes);
}
