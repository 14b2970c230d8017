import { describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { GptOssError } from "../../../lib/errors.js";
import type { HarmonyConstraint } from "../../../lib/generation/constraint.js";
import { createServer } from "../../../lib/server/index.js";
import { capturedLog } from "../../support/captured-log.js";
import { ids, post, scriptedServer } from "../../support/server.js";

/** Features that several endpoints share behave the same in each of them. */

const model = "gpt-oss-20b";
const said = ids("<|channel|>final<|message|>Hello!<|return|>");
const user = { role: "user", content: "Hi" };
const chat = { url: "/v1/chat/completions", body: { model, messages: [user] } };
const completion = { url: "/v1/completions", body: { model, prompt: "Hi" } };
const response = { url: "/v1/responses", body: { model, input: "Hi" } };
const streams = [chat, completion, response];

describe("a model that is not served", () => {
  it("is not found, in the same words", async () => {
    await using server = await scriptedServer([{ tokens: said }]);
    const error = {
      message: 'The model "gpt-9" does not exist; use gpt-oss-20b',
      type: "not_found_error",
      param: "model",
      code: "model_not_found",
    };
    const tokenize = { url: "/tokenize", body: { prompt: "Hi" } };
    const detokenize = { url: "/detokenize", body: { tokens: [1] } };
    for (const { url, body } of [...streams, tokenize, detokenize]) {
      expect(await post(server.app, url, { ...body, model: "gpt-9" })).toEqual({ status: 404, body: { error } });
    }
    const told = await server.app.inject("/v1/models/gpt-9");
    expect([told.statusCode, told.json()]).toEqual([404, { error }]);
  });
});

describe("sampling", () => {
  it.each([
    [{ seed: 7 }, { seed: 7n }],
    [{ seed: -1 }, { seed: 2n ** 64n - 1n }],
    [{ seed: 0 }, { seed: 0n }],
    [{ seed: 2 ** 63 }, { seed: 2n ** 63n }],
    [{ seed: -(2 ** 63) }, { seed: 2n ** 63n }],
    [{ seed: null }, {}],
    [{ top_p: 0 }, { topP: 2 ** -126 }],
    [{ top_p: 1 }, { topP: 1 }],
    [{ temperature: 0 }, { temperature: 0 }],
    [
      { presence_penalty: -2, frequency_penalty: 2 },
      { presencePenalty: -2, frequencyPenalty: 2 },
    ],
    [{ top_logprobs: 0 }, { logprobs: 0 }],
  ])("%j has the same meaning everywhere", async (fields, expected) => {
    await using server = await scriptedServer([{ tokens: said }]);
    for (const { url, body } of streams) {
      if ("top_logprobs" in fields && url === completion.url) continue; // it has `logprobs`
      expect((await post(server.app, url, { ...body, ...fields })).status).toBe(200);
      expect(server.engine.requests.at(-1)!.options).toMatchObject(expected);
    }
  });

  it("with top_p 0 takes the likeliest token, as with temperature 0", async () => {
    await using engine = await Engine.load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 1024 });
    const app = await createServer({ engine, modelName: model });
    const told = async (fields: object) => {
      const asked = { ...completion.body, max_tokens: 12, ...fields };
      return (await post(app, completion.url, asked)).body.choices[0].text;
    };
    expect(await told({ top_p: 0, temperature: 1.5, seed: 3 })).toBe(await told({ temperature: 0 }));
    await app.close();
  });
});

describe("the details of a usage", () => {
  it.each([true, false])("say what the cache of prefixes gave and took (cache: %s)", async (prefixCache) => {
    await using server = await scriptedServer([{ tokens: said }], { prefixCache });
    for (const { url, body } of [...streams, ...streams]) {
      const { usage } = (await post(server.app, url, body)).body;
      const prompt = usage.prompt_tokens ?? usage.input_tokens;
      const { cached_tokens: cached, cache_write_tokens: written } =
        usage.prompt_tokens_details ?? usage.input_tokens_details;
      expect(written).toBe(prefixCache ? prompt - cached : 0);
      if (!prefixCache) expect(cached).toBe(0);
    }
  });
});

describe("an effort", () => {
  it("has the same meaning in chat completions, responses and /tokenize", async () => {
    await using server = await scriptedServer([{ tokens: said }]);
    const known = {
      ...{ none: "low", minimal: "low", low: "low", medium: "medium" },
      ...{ high: "high", xhigh: "high", max: "high" },
    };
    for (const [effort, rendered] of Object.entries(known)) {
      const spelled = [
        { ...chat, fields: { reasoning: { effort } } },
        { ...chat, fields: { reasoning_effort: effort } },
        { ...response, fields: { reasoning: { effort } } },
      ];
      for (const { url, body, fields } of spelled) {
        expect((await post(server.app, url, { ...body, ...fields })).status).toBe(200);
        const { promptTokens, options } = server.engine.requests.at(-1)!;
        expect(server.engine.tokenizer.decode(promptTokens)).toContain(`Reasoning: ${rendered}\n`);
        const { analysisTokens } = options.constraint as { analysisTokens?: number };
        expect(analysisTokens).toBe(effort === "none" ? 0 : undefined);
      }
      const { tokens } = (await post(server.app, "/tokenize", { messages: [user], reasoning_effort: effort })).body;
      expect(server.engine.tokenizer.decode(tokens)).toContain(`Reasoning: ${rendered}\n`);
    }
  });
});

describe("the choice among tools", () => {
  const flat = { type: "function", name: "f" };
  const nested = { type: "function", function: { name: "f" } };
  const allowed = (tools: unknown[], mode?: string) => ({ type: "allowed_tools", ...(mode && { mode }), tools });

  it.each([
    ["auto", { toolChoice: "auto" }],
    ["none", { toolChoice: "none" }],
    ["required", { toolChoice: "required" }],
    [flat, { toolChoice: "required", names: ["f"] }],
    [nested, { toolChoice: "required", names: ["f"] }],
    [allowed([flat]), { toolChoice: "auto", names: ["f"] }],
    [allowed([nested, { name: "f" }], "required"), { toolChoice: "required", names: ["f", "f"] }],
    [
      { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [nested] } },
      { toolChoice: "auto", names: ["f"] },
    ],
  ])("%j is taken in either spelling", async (tool_choice, expected) => {
    await using server = await scriptedServer([{ tokens: said }]);
    const asked = [
      { ...chat, tools: [nested] },
      { ...response, tools: [flat] },
    ];
    for (const { url, body, tools } of asked) {
      expect((await post(server.app, url, { ...body, tools, tool_choice })).body).not.toHaveProperty("error.message");
      const { toolChoice, names } = server.engine.requests.at(-1)!.options.constraint as HarmonyConstraint;
      expect({ toolChoice, ...(names !== undefined && { names }) }).toEqual(expected);
    }
  });

  it.each([
    ["any", "tool_choice", "invalid_value"],
    [7, "tool_choice", "invalid_value"],
    [{}, "tool_choice.type", "missing_required_parameter"],
    [{ type: "web_search" }, "tool_choice.type", "unsupported_parameter"],
    [{ type: "function", name: "g" }, "tool_choice.name", "invalid_value"],
    [{ type: "function", function: { name: "g" } }, "tool_choice.function.name", "invalid_value"],
    [allowed([]), "tool_choice.tools", "invalid_value"],
    [allowed([7]), "tool_choice.tools[0]", "invalid_value"],
    [allowed([{ type: "web_search" }]), "tool_choice.tools[0].type", "unsupported_parameter"],
    [allowed([flat], "all"), "tool_choice.mode", "invalid_value"],
    [allowed(Array(1025).fill(flat)), "tool_choice.tools", "invalid_value"],
  ])("%j is refused alike", async (tool_choice, param, code) => {
    await using server = await scriptedServer([{ tokens: said }]);
    const [one, other] = await Promise.all([
      post(server.app, chat.url, { ...chat.body, tools: [nested], tool_choice }),
      post(server.app, response.url, { ...response.body, tools: [flat], tool_choice }),
    ]);
    expect(one).toMatchObject({ status: 400, body: { error: { param, code } } });
    expect(other).toEqual(one);
  });

  it("cannot be required where there is none", async () => {
    await using server = await scriptedServer([{ tokens: said }]);
    const tool_choice = "required";
    const one = await post(server.app, chat.url, { ...chat.body, tool_choice });
    expect(one).toMatchObject({ status: 400, body: { error: { param: "tool_choice", code: "invalid_value" } } });
    for (const tools of [[], [{ type: "web_search" }]]) {
      expect(await post(server.app, response.url, { ...response.body, tools, tool_choice })).toEqual(one);
    }
  });
});

describe("a stream", () => {
  it.each(streams)("of $url has signs of life while it waits", async ({ url, body }) => {
    const context = { keepAliveMilliseconds: 1 };
    await using server = await scriptedServer([{ tokens: said, stepDelayMs: 30 }], { context });
    const { payload } = await server.app.inject({ method: "POST", url, payload: { ...body, stream: true } });
    expect(payload).toContain(": keep-alive\n\n");
  });

  it.each(streams)("of $url that fails is in the log, once, and says nothing of the inside", async ({ url, body }) => {
    const { logger, of } = capturedLog();
    await using server = await scriptedServer([{ tokens: said, stepDelayMs: 100 }], { server: { logger } });
    const running = server.app.inject({ method: "POST", url, payload: { ...body, stream: true } });
    await expect.poll(() => server.engine.stats().running).toBe(1);
    await server.engine.close();
    const { payload } = await running;
    expect(payload).toMatch(/"(error|response\.failed)"/);
    expect(of.error).toEqual([[{ err: expect.any(GptOssError) }, "a stream ended with an error"]]);
  });

  it.each(streams)("of $url that a drain ends is no fault", async ({ url, body }) => {
    const { logger, of } = capturedLog();
    const settings = { server: { logger, drainMilliseconds: 1 } };
    await using server = await scriptedServer([{ tokens: said, stepDelayMs: 100 }], settings);
    const running = server.app.inject({ method: "POST", url, payload: { ...body, stream: true } });
    await expect.poll(() => server.engine.stats().running).toBe(1);
    await server.app.drain();
    expect((await running).payload).toMatch(/"(error|response\.failed)"/);
    expect(of.error).toEqual([]);
  });
});
