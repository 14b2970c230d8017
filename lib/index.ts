export type {
  AdapterInfo,
  CheckpointLayout,
  CheckpointSummary,
  ConversionSummary,
  EngineStats,
  Histogram,
  LoadProgress,
  ModelConfig,
  PageStats,
  TensorSummary,
  TokenLogprob,
  WeightConversion,
} from "./binding.js";
export type {
  ChatAnswer,
  ChatDelta,
  ChatEvent,
  ChatMessage,
  ChatMessageEvent,
  ChatOptions,
  ChatRun,
  ToolCall,
} from "./chat/chat.js";
export type { JsonSchemaFormat, ResponseFormat } from "./chat/response-format.js";
export type { RequestMessage } from "./engine.js";
export { Engine, type EngineHandle, type EngineInfo, type LogitsOptions } from "./engine.js";
export { type ErrorCode, GptOssError, type GptOssErrorOptions } from "./errors.js";
export type { AdapterOptions, LoadAdapterOptions } from "./generation/adapters.js";
export type {
  Constraint,
  HarmonyConstraint,
  OutputFormat,
  TextConstraint,
  Unsupported,
} from "./generation/constraint.js";
export type { DoneMessage, FirstTokenMessage, RequestOutcome } from "./generation/diagnostics.js";
export type { BatchOptions } from "./generation/event-log.js";
export type { GenerateOptions } from "./generation/generate-options.js";
export type { Generation } from "./generation/generation.js";
export type { LogitsProcessor } from "./generation/logits-processor.js";
export type { EngineOptions, KvCacheOptions } from "./generation/options.js";
export type { PromptLogprobs, PromptLogprobsOptions } from "./generation/prompt-logprobs.js";
export type {
  Acceptance,
  ChoiceEnd,
  Completion,
  FinishReason,
  GeneratedToken,
  GenerationResult,
  PositionLogprobs,
  RelaxedSchema,
  Timings,
  Usage,
} from "./generation/results.js";
export type { SamplingOptions } from "./generation/sampling.js";
export { type InspectedModel, inspectCheckpoint } from "./inspect.js";
export {
  type FoundModel,
  listModels,
  type ModelDetails,
  type ModelSource,
  type ResolvedModel,
  resolveModel,
  type TriedPlace,
} from "./models/index.js";
export { type BackendPlan, type ModelPlan, type PlanChange, type PlanOptions, planModel } from "./plan/index.js";
export {
  type ChecksumSource,
  type PulledFile,
  type PulledModel,
  type PullOptions,
  pullModel,
  type TransferProgress,
  type VerifiedFile,
  type VerifiedModel,
  type VerifyOptions,
  verifyModel,
} from "./pull/index.js";
