import type { ModelConfig, NativeBackendPlan } from "../binding.js";
import type { PlanOptions } from "./options.js";

/** The result of `planModel`. */
export interface ModelPlan {
  /** The name of the model. */
  name: string;
  /** Which model was planned, where the name means several of this machine; null: there is nothing to say. */
  note: string | null;
  /** Its config. */
  model: ModelConfig;
  /** Whether it fits on one of the backends. */
  fits: boolean;
  /** The plan for each backend. */
  backends: BackendPlan[];
  /** The backends that `"auto"` left out. */
  leftOut: {
    /** `"cuda"` or, on macOS, `"metal"`. */
    backend: string;
    /** The reason, in one sentence. */
    reason: string;
  }[];
}

/** The plan of an engine on one backend. */
export interface BackendPlan extends NativeBackendPlan {
  /** Where it does not fit: changes with which it does, the one with the least loss first. */
  changes: PlanChange[];
}

/** A change with which a model fits. It has one of the members, or several options that are needed together. */
export interface PlanChange {
  /** Free memory in bytes. Nothing is lost. */
  memoryBytes?: number;
  /** Options of `planModel`, which `Engine.load` has too. */
  options?: Pick<
    PlanOptions,
    "maxBatchTokens" | "maxSequences" | "contextLength" | "kvCache" | "denseWeights" | "expertWeights"
  >;
  /** Another model. */
  model?: string;
}
