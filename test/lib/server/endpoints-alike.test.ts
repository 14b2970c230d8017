import { describe, expect, it } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import type { HarmonyConstraint } from "../../../lib/generation/constraint.js";
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

describe("an effort", () => {
  it("has the same meaning in chat completions, responses and /tokenize", async () => {
    await using server = await scriptedServer([{ tokens: said }]);
    const known = {
      ...{ none: "low", minimal: "low", low: "low", medium: "medium" },
      ...{ high: "high", xhigh: "high", max: "high" },
    };
    for (const [effort, rendered] of Object.entries(known)) {
      for (const { url, body } of [chat, response]) {
        expect((await post(server.app, url, { ...body, reasoning: { effort } })).status).toBe(200);
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
