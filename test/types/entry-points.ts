// The public types of the other entry points: harmony, server and testing. Compiled as library.ts is.
import type { FastifyInstance, FastifyPluginAsync } from "fastify";
import { Engine } from "gpt-oss-node";
import {
  type Conversation,
  ConversationRenderer,
  type Message,
  type ParsedEvent,
  parseMessagesFromCompletionTokens,
  RecoveringParser,
  renderConversation,
  renderConversationForCompletion,
  StreamableParser,
  systemMessage,
  userMessage,
} from "gpt-oss-node/harmony";
import { ApiError, createServer, gptOssPlugin, type PluginOptions, type ServerOptions } from "gpt-oss-node/server";
import { call, type EngineRequest, reply, ScriptedEngine, think } from "gpt-oss-node/testing";
import { expectTypeOf } from "vitest";

// Harmony: messages to ids and back.
const messages: Message[] = [systemMessage({ reasoningEffort: "high" }), userMessage("Hi")];
expectTypeOf(messages).toExtend<Conversation>();
expectTypeOf<{ messages: Message[] }>().toExtend<Conversation>();
expectTypeOf(renderConversation(messages)).toEqualTypeOf<Uint32Array>();
expectTypeOf(renderConversationForCompletion(messages, "assistant")).toEqualTypeOf<Uint32Array>();
expectTypeOf(parseMessagesFromCompletionTokens([1], { role: "assistant" })).toEqualTypeOf<Message[]>();
// @ts-expect-error: an effort of this name does not exist
systemMessage({ reasoningEffort: "huge" });

const strict = new StreamableParser({ role: "assistant" });
expectTypeOf(strict.state).toEqualTypeOf<"ExpectStart" | "Header" | "Content">();
expectTypeOf(strict.currentChannel).toEqualTypeOf<string | null>();
expectTypeOf(new RecoveringParser().push(1)).toEqualTypeOf<readonly ParsedEvent[]>();
expectTypeOf(new ConversationRenderer().renderForCompletion(messages).tokens).toEqualTypeOf<Uint32Array>();

// The server: an engine or the promise of one; the plugin has no options of the socket.
expectTypeOf<Promise<Engine>>().toExtend<ServerOptions["engine"]>();
expectTypeOf<ServerOptions>().toExtend<PluginOptions>();
expectTypeOf<keyof PluginOptions>().not.toExtend<"tls">();
expectTypeOf(gptOssPlugin).toExtend<FastifyPluginAsync<PluginOptions & { prefix?: string }>>();
const app = await createServer({ engine: Engine.load("demo"), apiKeys: { file: "keys.txt" } });
expectTypeOf(app).toEqualTypeOf<FastifyInstance>();
expectTypeOf(app.drain()).toEqualTypeOf<Promise<void>>();
expectTypeOf(app.reloadApiKeys()).toBeNumber();
expectTypeOf(new ApiError(400, "no").param).toEqualTypeOf<string | null>();
// @ts-expect-error: a server needs an engine
await createServer({ modelName: "gpt-oss-20b" });

// Testing: a scripted engine is an engine.
const scripted = new ScriptedEngine([[think("I must ask."), call("now")], reply("Noon.")]);
expectTypeOf(scripted).toExtend<Engine>();
expectTypeOf(scripted.requests).toEqualTypeOf<EngineRequest[]>();
new ScriptedEngine(({ index }) => ({ messages: reply({ index }), stepDelayMs: 20 }));
// @ts-expect-error: a script has tokens, not words
new ScriptedEngine([{ tokens: "Hi" }]);
