import { describe, expect, it } from "vitest";
import { renderChat } from "../../../lib/chat/chat.js";
import { nearest } from "../../../lib/common/unknown-option.js";
import type { GptOssError } from "../../../lib/errors.js";
import { constraintText } from "../../../lib/generation/constraint.js";
import { nativeRequestOptions } from "../../../lib/generation/generate-options.js";
import { readEngineOptions } from "../../../lib/generation/options.js";
import {
  ConversationRenderer,
  RecoveringParser,
  renderConversation,
  systemMessage,
} from "../../../lib/harmony/index.js";
import { checkServerOptions } from "../../../lib/server/options.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { tokenizer } from "../../../lib/tokenizer/index.js";

/** All calls with options. Each must give an error for an unknown option. */
const calls = {
  "Engine.load": (options: object) => readEngineOptions(options),
  kvCache: (kvCache: object) => readEngineOptions({ kvCache }),
  generate: (options: object) => nativeRequestOptions(options, { vocab: 512, stopTokens: [], maskReserved: false }),
  chat: (options: object) => renderChat([{ role: "user", content: "x" }], options),
  constraint: (options: object) => constraintText({ kind: "harmony", ...options }),
  encode: (options: object) => tokenizer.encode("x", options),
  encodeBatch: (options: object) => tokenizer.encodeBatch(["x"], options),
  rendering: (options: object) => renderConversation([], options),
  ConversationRenderer: (options: object) => new ConversationRenderer(options),
  RecoveringParser: (options: object) => new RecoveringParser(options),
  systemMessage: (options: object) => systemMessage(options),
  createServer: (options: object) => checkServerOptions(options as never),
  ScriptedEngine: (options: object) => new ScriptedEngine([{ tokens: [1] }], options),
} as const;

async function refusal(call: keyof typeof calls, options: object): Promise<string> {
  const error: GptOssError = await Promise.resolve()
    .then((): unknown => calls[call](options))
    .then(
      () => expect.fail("nothing was refused"),
      (reason) => reason,
    );
  expect(error).toMatchObject({ name: "GptOssError", code: "INVALID_ARGUMENT" });
  expect(error.message).toMatch(`Unknown option "${Object.keys(options)[0]}" for ${call}; `);
  return error.message.slice(error.message.indexOf("; ") + 2);
}

describe("an unknown option", () => {
  it.each([
    ["Engine.load", "contextLenght", "contextLength"],
    ["Engine.load", "maxSequence", "maxSequences"],
    ["kvCache", "byte", "bytes"],
    ["generate", "tempreature", "temperature"],
    ["generate", "presencePenality", "presencePenalty"],
    ["generate", "minPp", "minP"],
    ["chat", "reasonningEffort", "reasoningEffort"],
    ["chat", "tool", "tools"],
    ["constraint", "analysisToken", "analysisTokens"],
    ["encode", "allowSpecial", "allowedSpecial"],
    ["encodeBatch", "singal", "signal"],
    ["rendering", "autoDropAnalisys", "autoDropAnalysis"],
    ["ConversationRenderer", "maxByte", "maxBytes"],
    ["RecoveringParser", "tolls", "tools"],
    ["systemMessage", "modelIdentify", "modelIdentity"],
    ["createServer", "drainMiliseconds", "drainMilliseconds"],
    ["ScriptedEngine", "maxQeue", "maxQueue"],
  ] as const)("of %s, %s, is told as the one that is meant", async (call, name, meant) => {
    expect(await refusal(call, { [name]: 1 })).toBe(`did you mean "${meant}"?`);
  });

  it.each([
    ["generate", "max_tokens", "maxTokens"],
    ["generate", "max_completion_tokens", "maxTokens"],
    ["generate", "maxOutputTokens", "maxTokens"],
    ["generate", "max_new_tokens", "maxTokens"],
    ["generate", "top_p", "topP"],
    ["generate", "top_k", "topK"],
    ["generate", "logit_bias", "logitBias"],
    ["generate", "stop_sequences", "stop"],
    ["generate", "stop_token_ids", "stopTokens"],
    ["generate", "top_logprobs", "logprobs"],
    ["generate", "cache_salt", "cacheSalt"],
    ["generate", "abortSignal", "signal"],
    ["chat", "max_tokens", "maxTokens"],
    ["chat", "reasoning_effort", "reasoningEffort"],
    ["chat", "instructions", "developerInstructions"],
    ["chat", "functions", "tools"],
    ["Engine.load", "max_model_len", "contextLength"],
    ["Engine.load", "n_ctx", "contextLength"],
    ["createServer", "api_key", "apiKeys"],
    ["createServer", "model", "modelName"],
  ] as const)("of %s, %s, is told its name here", async (call, name, here) => {
    expect(await refusal(call, { [name]: 1 })).toBe(`it is called "${here}" here`);
  });

  it("without a counterpart gets an error with the alternative", async () => {
    expect(await refusal("chat", { stream: true })).toMatch(/for await/);
    expect(await refusal("chat", { parallel_tool_calls: false })).toMatch(/one call in a turn/);
    expect(await refusal("generate", { model: "gpt-oss-20b" })).toMatch(/the engine has loaded/);
  });

  it("that resembles none gets a short list of all options, or the place of their documentation", async () => {
    expect(await refusal("kvCache", { quantum: 3 })).toBe("known are dtype, bytes");
    expect(await refusal("systemMessage", { colour: "red" })).toMatch(/^known are modelIdentity, .*, tools$/);
    expect(await refusal("generate", { xyzzy: 1 })).toMatch(
      /^the type GenerateOptions documents the \d+ that are known$/,
    );
    expect(await refusal("chat", { xyzzy: 1 })).toMatch(/ChatOptions/);
    expect(await refusal("Engine.load", { xyzzy: 1 })).toMatch(/EngineOptions/);
    expect(await refusal("createServer", { xyzzy: 1 })).toMatch(/ServerOptions/);
    expect(await refusal("chat", { toString: 1 })).toMatch(/ChatOptions/);
    expect(await refusal("chat", JSON.parse('{"__proto__": 1}'))).toMatch(/ChatOptions/);
    expect(await refusal("kvCache", { ["x".repeat(100_000)]: 1 })).toBe("known are dtype, bytes");
  });

  it.each(Object.keys(calls) as (keyof typeof calls)[])("of %s is always refused", async (call) => {
    await refusal(call, { xyzzy: undefined });
  });
});

describe("nearest", () => {
  it("counts letters that are added, dropped, replaced or swapped", () => {
    const names = ["temperature", "topP", "topK", "seed", "n"];
    expect(nearest("temperatur", names)).toBe("temperature");
    expect(nearest("temperatuure", names)).toBe("temperature");
    expect(nearest("temperatore", names)).toBe("temperature");
    expect(nearest("tepmerature", names)).toBe("temperature");
    expect(nearest("sede", names)).toBe("seed");
  });

  it("returns no distant name, and the nearest of several", () => {
    expect(nearest("humidity", ["temperature"])).toBeNull();
    expect(nearest("m", ["n"])).toBeNull();
    expect(nearest("", ["n", "ab"])).toBeNull();
    expect(nearest("maxTokns", ["minTokens", "maxTokens"])).toBe("maxTokens");
  });
});
