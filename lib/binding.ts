import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GptOssError } from "./errors.js";

/** The one file that finds, loads and types the addon. */

export interface NativeTokenizer {
  /** Ordinary encoding of UTF-16 text; text that looks like a control token is text. */
  tokenizerEncode(text: string): Uint32Array;
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

export interface NativeAddon extends NativeTokenizer {
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
