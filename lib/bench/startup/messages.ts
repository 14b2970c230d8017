import type { ErrorCode } from "../../errors.js";
import type { EngineOptions } from "../../generation/options.js";
import type { EngineFacts } from "../engine/parameters.js";

/** What the bench and the process that it starts tell each other. */

export interface StartOrder {
  model: string;
  options: EngineOptions;
  /** Tokens of the prompt. */
  inputTokens: number;
}

export type StartEvent =
  /** The package is imported. */
  | { kind: "imported" }
  | { kind: "ready"; facts: EngineFacts }
  /** Resident memory in bytes, mapped files included: now, and the most so far. */
  | { kind: "firstToken"; resident: number; residentPeak: number }
  | { kind: "failure"; code: ErrorCode | null; message: string };
