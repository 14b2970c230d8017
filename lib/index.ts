export type { CheckpointSummary, EngineStats, ModelConfig } from "./binding.js";
export type { ChatAnswer, ChatEvent, ChatMessage, ChatOptions, ChatRun, ToolCall } from "./chat.js";
export { Engine, type EngineInfo } from "./engine.js";
export { type ErrorCode, GptOssError } from "./errors.js";
export type { GenerateOptions } from "./generate-options.js";
export type { FinishReason, GeneratedToken, Generation, GenerationResult, Timings, Usage } from "./generation.js";
export { inspectCheckpoint } from "./inspect.js";
export type { EngineOptions, KvCacheOptions, LoadProgress } from "./options.js";
export type { SamplingOptions } from "./sampling.js";
