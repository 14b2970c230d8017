export type { CheckpointSummary, EngineStats, Histogram, ModelConfig, PageStats, TokenLogprob } from "./binding.js";
export type { ChatAnswer, ChatEvent, ChatMessage, ChatOptions, ChatRun, ToolCall } from "./chat.js";
export type { ChatDelta, ChatMessageEvent } from "./chat-reader.js";
export type { Constraint, HarmonyConstraint, OutputFormat, TextConstraint, Unsupported } from "./constraint.js";
export type { DoneMessage, FirstTokenMessage, RequestMessage } from "./diagnostics.js";
export { Engine, type EngineHandle, type EngineInfo } from "./engine.js";
export { type ErrorCode, GptOssError } from "./errors.js";
export type { GenerateOptions } from "./generate-options.js";
export type {
  Acceptance,
  Completion,
  FinishReason,
  GeneratedToken,
  Generation,
  GenerationResult,
  PositionLogprobs,
  RelaxedSchema,
  Timings,
  Usage,
} from "./generation.js";
export { inspectCheckpoint } from "./inspect.js";
export type { LogitsProcessor } from "./logits-processor.js";
export type { EngineOptions, KvCacheOptions, LoadProgress } from "./options.js";
export type { JsonSchemaFormat, ResponseFormat } from "./response-format.js";
export type { SamplingOptions } from "./sampling.js";
