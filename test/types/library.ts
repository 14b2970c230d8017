// The public types of the package, as a program that imports it by its name sees them. `npm run types` compiles this file
// against dist/; nothing runs it.
import {
  type Acceptance,
  type AdapterInfo,
  type AdapterOptions,
  type ChatAnswer,
  type ChatDelta,
  type ChatEvent,
  type ChatMessage,
  type ChatOptions,
  type ChatRun,
  type CheckpointSummary,
  type DoneMessage,
  Engine,
  type EngineHandle,
  type EngineInfo,
  type EngineOptions,
  type EngineStats,
  type ErrorCode,
  type FinishReason,
  type FoundModel,
  type GeneratedToken,
  type GenerateOptions,
  type Generation,
  type GenerationResult,
  GptOssError,
  type InspectedModel,
  inspectCheckpoint,
  type LoadProgress,
  listModels,
  type ModelPlan,
  type ModelSource,
  planModel,
  type ResolvedModel,
  resolveModel,
  type SamplingOptions,
  type ToolCall,
  type Usage,
} from "gpt-oss-node";
import type { Message } from "gpt-oss-node/harmony";
import { type Tokenizer, tokenizer } from "gpt-oss-node/tokenizer";
import { expectTypeOf } from "vitest";

// Loading: every option is optional, and no other name or value passes.
expectTypeOf(Engine.load).parameters.toEqualTypeOf<[model: string, options?: EngineOptions]>();
expectTypeOf(Engine.load).returns.toEqualTypeOf<Promise<Engine>>();
expectTypeOf<EngineOptions>().toExtend<{ contextLength?: number; maxSequences?: number; signal?: AbortSignal }>();
expectTypeOf<Record<string, never>>().toExtend<EngineOptions>();
expectTypeOf<EngineOptions["threads"]>().toEqualTypeOf<number | "auto" | undefined>();
expectTypeOf<"cuda:1">().toExtend<EngineOptions["backend"]>();
expectTypeOf<"vulkan">().not.toExtend<EngineOptions["backend"]>();
expectTypeOf<NonNullable<EngineOptions["onProgress"]>>().parameters.toEqualTypeOf<[progress: LoadProgress]>();
// @ts-expect-error: an option of this name does not exist
await Engine.load("demo", { maxSequence: 2 });
// @ts-expect-error: an engine is made by Engine.load
new Engine();

const engine = await Engine.load("demo");
expectTypeOf(engine).toExtend<AsyncDisposable>();
expectTypeOf(engine.info).toEqualTypeOf<EngineInfo>();
expectTypeOf(engine.info.memory.kvTokens).toBeNumber();
expectTypeOf(engine.stats()).toEqualTypeOf<EngineStats>();
expectTypeOf(engine.tokenizer).toEqualTypeOf<Tokenizer>();
expectTypeOf(engine.share()).toEqualTypeOf<EngineHandle>();
expectTypeOf(Engine.attach).toEqualTypeOf<(handle: EngineHandle) => Engine>();
expectTypeOf(engine.loadAdapter("support", "/path", { scale: 0.5 })).toEqualTypeOf<Promise<AdapterInfo>>();
expectTypeOf(engine.unloadAdapter).toEqualTypeOf<(name: string) => void>();
expectTypeOf(engine.adapters()).toEqualTypeOf<AdapterInfo[]>();
expectTypeOf(engine.info.mergedAdapters).toEqualTypeOf<AdapterInfo[]>();
expectTypeOf<Record<string, string | AdapterOptions>>().toExtend<EngineOptions["adapters"]>();
expectTypeOf<ChatOptions["adapter"]>().toEqualTypeOf<string | undefined>();
// @ts-expect-error: an adapter needs a path
await Engine.load("demo", { adapters: { support: { merge: true } } });
expectTypeOf(engine.close()).toEqualTypeOf<Promise<void>>();
expectTypeOf(engine.logits([1, 2], { last: 1 })).toEqualTypeOf<Promise<Float32Array>>();
expectTypeOf(planModel("20b", { memory: "16GB" })).toEqualTypeOf<Promise<ModelPlan>>();
expectTypeOf(inspectCheckpoint("demo")).toEqualTypeOf<Promise<InspectedModel>>();
expectTypeOf<InspectedModel>().toExtend<CheckpointSummary>();
expectTypeOf(resolveModel("20b")).toEqualTypeOf<Promise<ResolvedModel>>();
expectTypeOf<ResolvedModel["source"]>().toEqualTypeOf<ModelSource>();
expectTypeOf(listModels()).toEqualTypeOf<Promise<FoundModel[]>>();

// Generation: text or ids in, an AsyncIterable of tokens out.
expectTypeOf(engine.generate).parameter(0).toEqualTypeOf<string | ArrayLike<number>>();
expectTypeOf(engine.generate).parameter(1).toEqualTypeOf<GenerateOptions | undefined>();
expectTypeOf<GenerateOptions>().toExtend<SamplingOptions>();
expectTypeOf<GenerateOptions["seed"]>().toEqualTypeOf<number | bigint | undefined>();
expectTypeOf<GenerateOptions["stop"]>().toEqualTypeOf<string | readonly string[] | undefined>();
expectTypeOf<Uint32Array>().toExtend<GenerateOptions["stopTokens"]>();
// @ts-expect-error: the option is topP
engine.generate("Hi", { top_p: 1 });

const run = engine.generate("Hi");
expectTypeOf(run).toEqualTypeOf<Generation>();
expectTypeOf(run.accepted).toEqualTypeOf<Promise<Acceptance>>();
for await (const token of run) {
  expectTypeOf(token).toEqualTypeOf<GeneratedToken>();
  expectTypeOf(token.text).toBeString();
  expectTypeOf(token.top).toEqualTypeOf<{ token: number; logprob: number }[] | undefined>();
}
const generated = await run.result;
expectTypeOf(generated).toEqualTypeOf<GenerationResult>();
expectTypeOf(generated.finishReason).toEqualTypeOf<"stop" | "length" | "cancelled">();
expectTypeOf(generated.usage).toEqualTypeOf<{
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
}>();

// Chat: OpenAI's messages and harmony's, mixed; an answer's messages are history.
expectTypeOf<Message>().toExtend<ChatMessage>();
expectTypeOf<ChatAnswer["messages"]>().toExtend<readonly ChatMessage[]>();
expectTypeOf<{ role: "user"; content: string }>().toExtend<ChatMessage>();
expectTypeOf<{ role: "tool"; tool_call_id: string; content: string }>().toExtend<ChatMessage>();
expectTypeOf<ChatOptions["reasoningEffort"]>().toEqualTypeOf<"low" | "medium" | "high" | undefined>();
// @ts-expect-error: a chat has one answer
engine.chat([], { n: 2 });
// @ts-expect-error: role
engine.chat([{ role: "narrator", content: "" }]);

const chat = engine.chat([{ role: "user", content: "Hi" }], {
  toolChoice: { type: "function", function: { name: "now" } },
  responseFormat: { type: "json_schema", json_schema: { schema: { type: "object" }, strict: true } },
});
expectTypeOf(chat).toEqualTypeOf<ChatRun>();
for await (const event of chat) {
  expectTypeOf(event).toEqualTypeOf<ChatEvent>();
  if (event.type === "delta") {
    expectTypeOf(event).toEqualTypeOf<ChatDelta>();
    expectTypeOf(event.channel).toEqualTypeOf<string | null>();
  } else if (event.type === "message") {
    expectTypeOf(event.message).toEqualTypeOf<Message>();
  } else {
    expectTypeOf(event).toEqualTypeOf<{ type: "done"; finishReason: FinishReason; usage: Usage }>();
  }
}
const answer = await chat.result;
expectTypeOf(answer).toEqualTypeOf<ChatAnswer>();
expectTypeOf(answer.toolCalls).toEqualTypeOf<ToolCall[]>();
expectTypeOf(answer.parsed).toBeUnknown();

// Errors: one class, whose code is one of a list.
try {
  await engine.close();
} catch (error) {
  expectTypeOf(error).toBeUnknown();
  if (error instanceof GptOssError) expectTypeOf(error.code).toEqualTypeOf<ErrorCode>();
}
expectTypeOf<GptOssError>().toExtend<Error>();
expectTypeOf<"QUEUE_FULL" | "CONTEXT_OVERFLOW" | "MODEL_NOT_FOUND">().toExtend<ErrorCode>();
expectTypeOf<"QUEUE_EMPTY">().not.toExtend<ErrorCode>();

// What node:diagnostics_channel publishes.
declare const done: DoneMessage;
expectTypeOf(done.completionTokens).toBeNumber();
if ("error" in done) expectTypeOf(done.error).toBeUnknown();
else expectTypeOf(done.finishReason).toEqualTypeOf<FinishReason>();

// The tokenizer, which needs no engine.
expectTypeOf(tokenizer.encode("a", { allowedSpecial: "all" })).toEqualTypeOf<Uint32Array>();
expectTypeOf(tokenizer.decode).parameters.toEqualTypeOf<[ids: ArrayLike<number>]>();
expectTypeOf(tokenizer.stream().push(1)).toBeString();
