import type { EngineInfo } from "../../engine.js";
import type { BenchParameters, NewRow } from "../rows.js";

/** What the rows of an engine say about it. */

/** The settings that change what is computed, and with which kernels. */
export type EngineFacts = Pick<
  EngineInfo,
  | "backend"
  | "isa"
  | "numerics"
  | "denseWeights"
  | "expertWeights"
  | "kvCacheDtype"
  | "repeatable"
  | "threads"
  | "mergedAdapters"
  | "device"
  | "memory"
  | "limits"
>;

export function engineParameters(model: string, facts: EngineFacts): BenchParameters {
  const { backend, isa, numerics, denseWeights, expertWeights, kvCacheDtype, repeatable, threads } = facts;
  const merged = facts.mergedAdapters.map(({ name }) => name).join(",");
  return {
    ...{ model, backend, isa, numerics, denseWeights, expertWeights, kvCacheDtype, repeatable, threads },
    ...(merged !== "" && { mergedAdapters: merged }),
  };
}

export function engineAbout({ device, memory, limits }: EngineFacts): NonNullable<NewRow["about"]> {
  const { weightsBytes, packedBytes, kvTokens } = memory;
  return { device, weightsBytes, packedBytes, kvTokens, maxBatchTokens: limits.maxBatchTokens };
}
