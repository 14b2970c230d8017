import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { addonNotFound } from "./addon-not-found.js";
import { inThisRealm } from "./common/realm.js";
import { GptOssError, isError } from "./errors.js";
import type { CheckpointSummary, ModelConfig } from "./native/checkpoint.js";
import type { LoadProgress, NativeEngine, NativeEngineOptions } from "./native/engine.js";
import type { NativeLab, NativeLabOptions } from "./native/lab.js";
import type { NativeBackendPlan, NativePlanQuery } from "./native/plan.js";
import type { NativeEvent, NativeSamplingContext, NativeSamplingParams, TokenLogprob } from "./native/request.js";
import { packageManifest, packageRoot } from "./package-root.js";
import { addonPackage, cudaPackage } from "./platform-package.js";

export type * from "./native/checkpoint.js";
export type * from "./native/engine.js";
export type * from "./native/plan.js";
export type * from "./native/request.js";

export { packageRoot };

/** This file alone finds and loads the addon. `native/` types what passes. */

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

export interface NativeAddon extends NativeTokenizer {
  /** A kernel lab with its own thread. Its backend is opened by the first call. */
  openLab(options: NativeLabOptions): NativeLab;
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

/** Another build of the addon. @throws GptOssError ADDON_NOT_FOUND when it cannot be loaded, or is too old or too new. */
export function addonAt(file: string): NativeAddon {
  try {
    // Node would run a file of another name as a program.
    if (path.extname(file) !== ".node") throw new Error('expected a file whose name ends with ".node"');
    const native = createRequire(import.meta.url)(path.resolve(file)) as NativeAddon;
    if (typeof native.openLab !== "function") throw new Error("it has no kernel lab");
    native.path = file;
    return inThisRealm(native);
  } catch (cause) {
    const reason = isError(cause) ? cause.message.split("\n")[0]! : String(cause);
    throw new GptOssError("ADDON_NOT_FOUND", `${file} is no addon of this package: ${reason}`, { cause });
  }
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
