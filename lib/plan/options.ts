import type { NativeEngineOptions } from "../binding.js";
import { readOptions } from "../common/unknown-option.js";
import { backendNames, isBackend } from "../environment.js";
import { invalidArgument } from "../errors.js";
import { type EngineOptions, parseBytes, readEngineOptions } from "../generation/options.js";

/** Options of `planModel`. Those of `EngineOptions` mean the same here. */
export interface PlanOptions
  extends Pick<
    EngineOptions,
    | "contextLength"
    | "maxSequences"
    | "maxBatchTokens"
    | "denseWeights"
    | "expertWeights"
    | "numerics"
    | "packedWeights"
    | "repeatable"
    | "threads"
    | "adapters"
  > {
  /**
   * The memory that is free for the engine, in bytes or as a size: `"80GB"`, `"64 GiB"`. Default: what is free here. A
   * GPU that is sold with 80 GB has about 84.5 GB free, because its GB are GiB. For `"metal"` it is the memory of the
   * Mac, of which macOS lets the GPU use two thirds, or three quarters from 36 GB on.
   */
  memory?: number | string;
  /**
   * The backend to plan for. `"auto"`, the default, plans for a CPU and for CUDA with `memory`. Without it, it plans for
   * the CPU and the GPU that are here.
   */
  backend?: "auto" | "cpu" | "cuda" | `cuda:${number}` | "metal";
  /** The element type of the KV cache. Default: that of the backend. */
  kvCache?: Pick<NonNullable<EngineOptions["kvCache"]>, "dtype">;
  /**
   * The instruction set of the CPU: `"amx"`, `"avx512bf16"`, `"avx512"`, `"avx2"` or `"scalar"`; on arm64 `"neonbf16"`,
   * `"neon"` or `"scalar"`. Default: the one that an engine would use here.
   */
  isa?: string;
}

const known = new Set([
  ...["memory", "backend", "contextLength", "maxSequences", "maxBatchTokens", "kvCache", "denseWeights"],
  ...["expertWeights", "numerics", "packedWeights", "repeatable", "threads", "isa", "adapters"],
]);

/** Options of `planModel`, read and checked. */
export interface CheckedPlanOptions {
  engine: NativeEngineOptions;
  /** 0: what is free here. */
  memoryBytes: number;
  isa: string;
  /** The conversations that must run at once, and their length in tokens; 0: the planner's own. */
  wanted: { conversations: number; contextLength: number };
}

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or a wrong value */
export function readPlanOptions(given: PlanOptions): CheckedPlanOptions {
  const { memory, isa = "", ...engine } = readOptions("planModel", given, known, "PlanOptions");
  if (typeof isa !== "string") throw invalidArgument("isa", "the name of an instruction set", isa);
  const { backend } = engine as { backend?: unknown };
  if (backend !== undefined && (typeof backend !== "string" || !isBackend(backend))) {
    throw invalidArgument("backend", backendNames, backend);
  }
  const { native } = readEngineOptions(engine);
  const { contextLength, maxSequences } = engine;
  return {
    engine: native,
    memoryBytes: memory === undefined ? 0 : usable(memoryOf(memory), native.backend),
    isa,
    wanted: {
      conversations: contextLength === undefined ? 1 : (maxSequences ?? 1),
      contextLength: contextLength ?? 0,
    },
  };
}

/**
 * What a backend may use of a memory. macOS lets the GPU of a Mac use a part of it by default: reports give 10.5 of 16 GB,
 * 27 of 36 GB, and 107 of 128 GB.
 */
function usable(bytes: number, backend: string): number {
  if (backend !== "metal") return bytes;
  return bytes < 36e9 ? Math.floor((bytes / 3) * 2) : Math.floor((bytes / 4) * 3);
}

/** A smaller number is one without its unit: 80 for 80 GB. */
const leastBytes = 1000;

function memoryOf(memory: unknown): number {
  const given = typeof memory === "string" && /^\d+$/.test(memory) ? Number(memory) : memory;
  try {
    const bytes = given === "auto" ? 0 : parseBytes("memory", given);
    if (bytes >= leastBytes) return bytes;
  } catch {
    // What is wrong with it is said below.
  }
  throw invalidArgument(
    "memory",
    `a size such as "80GB" or "64GiB", or a number of bytes from ${leastBytes} on`,
    memory,
  );
}
