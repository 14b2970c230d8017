import { once } from "node:events";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import type { EngineStats } from "../../../lib/binding.js";
import type { TurnEvent } from "../../../lib/chat/turn-event.js";
import { Tenants } from "../../../lib/server/tenants/tenants.js";
import { startTurn } from "../../../lib/server/turn/start.js";
import {
  asking,
  assembled,
  chat,
  ids,
  type Json,
  type ScriptedServer,
  scriptedServer,
  stream,
} from "../../support/server.js";
import { listening } from "../../support/server-operations.js";

const weather = { type: "function", function: { name: "get_weather", parameters: { type: "object" } } } as const;
const tools = [weather];
const hello = ids(
  "<|channel|>analysis<|message|>I greet.<|end|><|start|>assistant<|channel|>final<|message|>Hello!<|return|>",
);
const called = ids(
  '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"Bern"}<|call|>',
);
const long = { tokens: [...ids("<|channel|>final<|message|>"), ...new Array(5000).fill(ids(" and")[0])] };

async function asked(fields: object): Promise<Json> {
  await using server = await scriptedServer([{ tokens: hello }]);
  const { status, body } = await chat(server.app, fields);
  return { status, body, requests: server.engine.requests };
}

/** The options of the first request that the engine got. */
async function options(fields: object): Promise<Json> {
  const { status, body, requests } = await asked(fields);
  expect(status, JSON.stringify(body)).toBe(200);
  return requests[0].options;
}

describe("a chat completion", () => {
  it("has the shape of OpenAI's API", async () => {
    const { body } = await asked({});
    expect(body).toEqual({
      id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/),
      object: "chat.completion",
      created: Date.parse("2025-06-28T12:00:00Z") / 1000,
      model: "gpt-oss-20b",
      service_tier: "default",
      choices: [
        {
          index: 0,
          message: {
            role: "assistant",
            content: "Hello!",
            refusal: null,
            reasoning: "I greet.",
            reasoning_content: "I greet.",
          },
          logprobs: null,
          finish_reason: "stop",
          stop_reason: null,
        },
      ],
      usage: {
        prompt_tokens: expect.any(Number),
        completion_tokens: hello.length,
        total_tokens: expect.any(Number),
        prompt_tokens_details: { cached_tokens: 0, cache_write_tokens: body.usage.prompt_tokens },
        completion_tokens_details: { reasoning_tokens: 3 },
      },
    });
  });

  it("streams chunks of one id in the order of the message, then the usage", async () => {
    await using server = await scriptedServer([{ tokens: hello }]);
    const frames = await stream(server.app, { stream_options: { include_usage: true } });
    expect(frames.pop()).toBe("[DONE]");
    const usage = frames.pop();
    expect(usage).toMatchObject({ choices: [], usage: { completion_tokens: hello.length } });
    expect(new Set(frames.map((frame: Json) => [frame.id, frame.object, frame.model].join()))).toEqual(
      new Set([[usage.id, "chat.completion.chunk", "gpt-oss-20b"].join()]),
    );
    for (const frame of frames) expect(frame.usage).toBeNull();
    const deltas = frames.map((frame: Json) => frame.choices[0].delta);
    expect(deltas[0]).toEqual({ role: "assistant", content: "" });
    expect(deltas.at(-1)).toEqual({});
    const kinds = deltas.slice(1, -1).map((delta: Json) => Object.keys(delta).join());
    expect(kinds.join(" ")).toMatch(/^(reasoning,reasoning_content ?)+(content ?)+$/);
    for (const frame of frames.slice(0, -1)) expect(frame.choices[0].finish_reason).toBeNull();
    expect(frames.at(-1).choices[0].finish_reason).toBe("stop");
    const plain = await stream(server.app);
    for (const frame of plain.slice(0, -1)) expect(frame).not.toHaveProperty("usage");
  });

  it("gives the engine every sampling option", async () => {
    const given = await options({
      temperature: 0.5,
      top_p: 0.9,
      top_k: -1,
      min_p: 0.1,
      presence_penalty: 1,
      frequency_penalty: -1,
      repetition_penalty: 1.1,
      logit_bias: { 100: -100 },
      seed: -1,
      n: 2,
      max_completion_tokens: 40,
      max_tokens: 50,
      min_tokens: 2,
      stop_token_ids: [100],
      logprobs: true,
      top_logprobs: 5,
      priority: 3,
      cache_salt: "tenant",
    });
    expect(given).toMatchObject({
      temperature: 0.5,
      topP: 0.9,
      topK: 0,
      minP: 0.1,
      presencePenalty: 1,
      frequencyPenalty: -1,
      repetitionPenalty: 1.1,
      logitBias: { 100: -100 },
      seed: 2n ** 64n - 1n,
      n: 2,
      maxTokens: 40,
      minTokens: 2,
      logprobs: 5,
      priority: 3,
      cacheSalt: "tenant",
    });
    expect(given.stopTokens).toEqual(expect.arrayContaining([100, 199999, 200002, 200012]));
    expect((await options({ ignore_eos: true, stop_token_ids: [100] })).stopTokens).toEqual([100]);
  });

  it("tells the stop token of the request's own as the reason", async () => {
    const [token] = ids("!");
    const { body } = await asked({ stop_token_ids: [token] });
    expect(body.choices[0]).toMatchObject({ finish_reason: "stop", stop_reason: token });
  });

  it("constrains the answer to harmony, to tools and to a format", async () => {
    const plain = await options({});
    expect(plain.constraint).toEqual({ kind: "harmony", toolChoice: "none" });
    const declared = [{ name: "get_weather", parameters: { type: "object" }, unsupported: "relax" }];
    const choices = [
      [undefined, { toolChoice: "auto", tools: declared }],
      ["auto", { toolChoice: "auto", tools: declared }],
      ["none", { toolChoice: "none" }],
      ["required", { toolChoice: "required", tools: declared }],
      [
        { type: "function", function: { name: "get_weather" } },
        { toolChoice: "required", tools: declared, names: ["get_weather"] },
      ],
      [
        { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [weather] } },
        { toolChoice: "auto", tools: declared, names: ["get_weather"] },
      ],
    ];
    for (const [tool_choice, expected] of choices) {
      expect((await options({ tools, tool_choice })).constraint).toEqual({ kind: "harmony", ...(expected as object) });
    }
    const schema = { type: "object", properties: { a: { type: "number" } } };
    const formats = [
      [{ response_format: { type: "json_object" } }, { type: "json_object" }],
      [
        { response_format: { type: "json_schema", json_schema: { name: "a", schema } } },
        { type: "json_schema", schema, unsupported: "relax" },
      ],
      [
        { response_format: { type: "json_schema", json_schema: { name: "a", schema, strict: true } } },
        { type: "json_schema", schema, unsupported: "refuse" },
      ],
      [{ response_format: { type: "text" } }, undefined],
      [{ structured_outputs: { regex: "a+" } }, { type: "regex", pattern: "a+" }],
      [{ guided_choice: ["a", "b"] }, { type: "choice", choices: ["a", "b"] }],
      [{ guided_json: JSON.stringify(schema) }, { type: "json_schema", schema, unsupported: "refuse" }],
    ] as const;
    for (const [fields, format] of formats) expect((await options(fields)).constraint.final).toEqual(format);
  });

  it("describes the format at the end of the developer message", async () => {
    const schema = { type: "object", properties: { b: {}, a: {} } };
    const named = { name: "answer", description: "What it is", schema };
    const { requests } = await asked({
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hi" },
      ],
      tools,
      response_format: { type: "json_schema", json_schema: named },
    });
    await using server = await scriptedServer([{ tokens: hello }]);
    const text = server.engine.tokenizer.decode(requests[0].promptTokens);
    expect(text).toContain(
      `} // namespace functions\n\n# Response Formats\n\n## answer\n\n// What it is\n${JSON.stringify(schema)}<|end|>`,
    );
  });

  it("ignores fields that it does not know, and takes null for absent", async () => {
    const { status } = await asked({
      user: "u",
      store: true,
      metadata: {},
      verbosity: "low",
      modalities: ["text"],
      parallel_tool_calls: false,
      unheard_of: [1],
      temperature: null,
      stop: null,
      tools: null,
      stream_options: null,
      response_format: null,
    });
    expect(status).toBe(200);
  });

  it("takes everything back that it has answered, also an answer that was cut off early", async () => {
    const { message } = (await asked({ max_tokens: 1 })).body.choices[0];
    expect(message).toEqual({ role: "assistant", content: null, refusal: null });
    const user = { role: "user", content: "Hi" };
    expect((await asked({ messages: [user, message, user] })).status).toBe(200);
  });

  it("takes the legacy role of functions, and every way to say what a call was", async () => {
    const legacy = [
      { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } },
      { role: "function", name: "f", content: "12" },
    ];
    const { status, requests } = await asked({ messages: [{ role: "user", content: "Hi" }, ...legacy] });
    expect(status).toBe(200);
    await using server = await scriptedServer([{ tokens: hello }]);
    const text = server.engine.tokenizer.decode(requests[0].promptTokens);
    expect(text).toContain("<|start|>functions.f to=assistant<|channel|>commentary<|message|>12<|end|>");
  });

  it("says 404 for another model", async () => {
    await using server = await scriptedServer([{ tokens: hello }]);
    const { status, body } = await chat(server.app, { model: "gpt-5" });
    expect([status, body.error.type, body.error.code]).toEqual([404, "not_found_error", "model_not_found"]);
  });

  it("says 429 when the queue is full", async () => {
    await using server = await scriptedServer([{ ...long, stepDelayMs: 5 }], { maxSequences: 1, maxQueue: 1 });
    const controller = new AbortController();
    const { signal } = controller;
    const running = server.engine.generate([1], { signal });
    await until(server, ({ running }) => running === 1);
    const waiting = server.engine.generate([1], { signal });
    const { status, body } = await chat(server.app);
    expect([status, body.error.type, body.error.code]).toEqual([429, "rate_limit_error", "queue_full"]);
    controller.abort(new Error("over"));
    await expect(Promise.all([running.result, waiting.result])).rejects.toThrow("over");
  });
});

describe("a client on a socket", () => {
  it("reads chunks and whole answers with OpenAI's own library", async () => {
    await using server = await scriptedServer([{ tokens: [...hello.slice(0, -8), ...called], tokensPerStep: 2 }]);
    const client = new OpenAI({ baseURL: `http://127.0.0.1:${await listening(server.app)}/v1`, apiKey: "none" });
    const request = { model: "gpt-oss-20b", messages: [{ role: "user", content: "Hi" }], tools } as const;
    const { choices } = await client.chat.completions.create(request as never);
    const run = client.chat.completions.stream(request as never);
    const [streamed] = (await run.finalChatCompletion()).choices;
    expect(streamed!.finish_reason).toBe("tool_calls");
    const [whole] = choices[0]!.message.tool_calls as Json[];
    const [piecewise] = streamed!.message.tool_calls as Json[];
    expect(piecewise.function).toMatchObject(whole.function);
    expect(piecewise.function).toMatchObject({ name: "get_weather", arguments: '{"city":"Bern"}' });
  });

  it("gets the head of a stream at once, and comments while it waits", async () => {
    await using server = await scriptedServer([{ ...long, stepDelayMs: 1 }, { tokens: hello }], {
      maxSequences: 1,
      context: { keepAliveMilliseconds: 1 },
    });
    const running = server.engine.generate([1]);
    await until(server, ({ running }) => running === 1);
    const { response } = await opened(server, { stream: true });
    expect(response.headers).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    });
    let text = "";
    response.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    while (!text.includes(": keep-alive\n\n")) await once(response, "data");
    running.cancel();
    await once(response, "end");
    expect(text).toContain("Hello");
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  it("that goes away stops the model, streaming or not", async () => {
    await using server = await scriptedServer([{ ...long, stepDelayMs: 1 }]);
    await listening(server.app);
    for (const streamed of [true, false]) {
      const requests = await Promise.all(
        Array.from({ length: 10 }, async () => {
          if (streamed) return (await opened(server, { stream: true })).request;
          return sent(server, {});
        }),
      );
      await until(server, ({ running }) => running === 10);
      for (const request of requests) request.destroy();
      await until(server, ({ running, waiting }) => running === 0 && waiting === 0);
    }
  });

  it("hears of an engine that fails in the middle, in the stream", async () => {
    await using server = await scriptedServer([{ ...long, stepDelayMs: 1 }]);
    const { response } = await opened(server, { stream: true });
    let text = "";
    response.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    while (!text.includes(" and")) await once(response, "data");
    const ended = once(response, "end");
    await server.engine.close();
    await ended;
    const last = JSON.parse(text.trimEnd().split("\n\n").at(-1)!.slice("data: ".length));
    expect(last).toEqual({
      error: { message: expect.any(String), type: "service_unavailable", param: null, code: "not_ready" },
    });
    expect(text).not.toContain("[DONE]");
  });
});

describe("a turn", () => {
  it("gives each part a start, pieces and an end, with the tokens that it was read from", async () => {
    const thought = ids("<|channel|>analysis<|message|>Hm.<|end|>");
    const wrote = [...thought, ...ids("<|start|>assistant"), ...called];
    await using server = await scriptedServer([{ tokens: wrote, tokensPerStep: 100 }]);
    const events: TurnEvent[] = [];
    const turn = await startTurn(server.engine, {
      tenant: new Tenants().everybody,
      messages: [{ role: "user", content: "Hi" }],
      tools: [{ name: "get_weather", at: "tools[0].function.parameters" }],
      toolChoice: { type: "auto" },
      format: null,
      effort: "low",
      date: "2025-06-28",
      sampling: {},
      stop: [],
      topLogprobs: null,
      n: 1,
      signal: new AbortController().signal,
    });
    for await (const event of turn) events.push(event);
    const callId = (events[3] as Json).callId;
    const header = (channel: string, recipient: string | null = null, contentType: string | null = null) => {
      return { channel, recipient, contentType };
    };
    expect(events).toEqual([
      { choice: 0, type: "part-start", part: 0, kind: "reasoning", header: header("analysis") },
      { choice: 0, type: "part-delta", part: 0, text: "Hm.", tokens: [] },
      {
        choice: 0,
        type: "part-end",
        part: 0,
        text: "Hm.",
        complete: true,
        message: { role: "assistant", channel: "analysis", content: [{ type: "text", text: "Hm." }] },
        tokens: thought,
      },
      {
        choice: 0,
        type: "part-start",
        part: 1,
        kind: "call",
        header: header("commentary", "functions.get_weather", "<|constrain|>json"),
        callId,
        name: "get_weather",
      },
      { choice: 0, type: "part-delta", part: 1, text: '{"city":"Bern"}', tokens: [] },
      {
        choice: 0,
        type: "part-end",
        part: 1,
        text: '{"city":"Bern"}',
        complete: true,
        message: {
          role: "assistant",
          id: callId,
          channel: "commentary",
          recipient: "functions.get_weather",
          content_type: "<|constrain|>json",
          content: [{ type: "text", text: '{"city":"Bern"}' }],
        },
        tokens: wrote.slice(thought.length),
      },
      {
        choice: 0,
        type: "choice-end",
        finishReason: "tool_calls",
        stopReason: null,
        usage: {
          promptTokens: turn.promptTokens.length,
          cachedTokens: 0,
          cacheWriteTokens: turn.promptTokens.length,
          completionTokens: wrote.length,
          reasoningTokens: 2,
        },
      },
    ]);
  });

  it("ends where the model goes on to play somebody else", async () => {
    const said = "<|channel|>final<|message|>Yes.<|end|>";
    await using server = await scriptedServer([{ tokens: ids(`${said}<|start|>user<|message|>And now?<|end|>`) }]);
    const whole = (await chat(server.app)).body.choices[0];
    expect(whole).toMatchObject({ finish_reason: "stop", message: { content: "Yes." } });
    expect(assembled((await stream(server.app)).slice(0, -1)).message.content).toBe("Yes.");
  });
});

async function sent(server: ScriptedServer, fields: object): Promise<ClientRequest> {
  if (!server.app.server.listening) await listening(server.app);
  const { port } = server.app.server.address() as AddressInfo;
  const body = JSON.stringify(asking(fields));
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const request = httpRequest({
    port,
    host: "127.0.0.1",
    method: "POST",
    path: "/v1/chat/completions",
    headers,
    agent: false,
  });
  request.on("error", () => {}); // the test aborts it on purpose
  request.end(body);
  return request;
}

async function opened(
  server: ScriptedServer,
  fields: object,
): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  const request = await sent(server, fields);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  response.on("error", () => {});
  return { request, response };
}

/** Waits until the engine's counters match; without a match, the test runs into its time limit. */
async function until({ engine }: ScriptedServer, holds: (stats: EngineStats) => boolean): Promise<void> {
  while (!holds(engine.stats())) await new Promise((resolve) => setTimeout(resolve, 1));
}
