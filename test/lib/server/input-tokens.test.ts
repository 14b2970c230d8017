import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { capturedLog } from "../../support/captured-log.js";
import { ids, post, scriptedServer } from "../../support/server.js";

const model = "gpt-oss-20b";
const url = "/v1/responses/input_tokens";
const said = [
  {
    tokens: ids(
      "<|channel|>analysis<|message|>They greet.<|end|><|start|>assistant<|channel|>final<|message|>Hello!<|return|>",
    ),
  },
];
const user = { role: "user", content: "Hi" };
const call = { type: "function_call", call_id: "c", name: "f", arguments: "{}" };

describe("POST /v1/responses/input_tokens", () => {
  const bodies: [name: string, body: object][] = [
    ["a text", { input: "Why is the sky blue?" }],
    ["instructions", { input: "Hi", instructions: "Be brief." }],
    [
      "tools",
      { input: "Hi", tools: [{ type: "function", name: "f", description: "D", parameters: { type: "object" } }] },
    ],
    ["a format", { input: "Hi", text: { format: { type: "json_schema", name: "a", schema: { type: "object" } } } }],
    ["an effort", { input: "Hi", reasoning: { effort: "high", summary: "auto" } }],
    ["items", { input: [user, { type: "reasoning", summary: [{ type: "summary_text", text: "T" }] }, call] }],
    ["a hosted call", { input: [user, { type: "mcp_call", name: "f", arguments: "{}", output: "1" }] }],
    ["other fields", { input: "Hi", stream: true, store: false, temperature: 0, truncation: "auto", include: [] }],
  ];

  it.each(bodies)("counts what a response counts: %s", async (_, body) => {
    await using server = await scriptedServer(said);
    const counted = await post(server.app, url, { model, ...body });
    expect(server.engine.requests).toEqual([]);
    const { usage } = (await post(server.app, "/v1/responses", { model, ...body, stream: false })).body;
    expect(counted).toEqual({
      status: 200,
      body: { object: "response.input_tokens", input_tokens: usage.input_tokens },
    });
  });

  it("counts a stored conversation", async () => {
    await using server = await scriptedServer(said);
    const { id } = (await post(server.app, "/v1/responses", { model, input: "Hi" })).body;
    const body = { model, input: "And?", previous_response_id: id };
    const { input_tokens } = (await post(server.app, url, body)).body;
    expect(input_tokens).toBe((await post(server.app, "/v1/responses", body)).body.usage.input_tokens);
  });

  it("counts what has no message, and what exceeds the context", async () => {
    await using server = await scriptedServer(said, { contextLength: 128 });
    const empty = (await post(server.app, url, {})).body.input_tokens;
    expect(empty).toBeGreaterThan(10);
    expect((await post(server.app, url, { instructions: "Be brief." })).body.input_tokens).toBeGreaterThan(empty);
    const long = { model, input: "word ".repeat(1000) };
    expect((await post(server.app, url, long)).body.input_tokens).toBeGreaterThan(1000);
    expect((await post(server.app, "/v1/responses", long)).status).toBe(400);
    const many = { model, input: Array(200).fill(user), truncation: "auto" };
    expect((await post(server.app, url, many)).body.input_tokens).toBeGreaterThan(600);
  });

  it("warns as a response does", async () => {
    await using server = await scriptedServer(said);
    const payload = { model, input: [user, { type: "compaction", encrypted_content: "x" }], tools: [{ type: "mcp" }] };
    const { headers } = await server.app.inject({ method: "POST", url, payload });
    expect(JSON.parse(headers["x-gpt-oss-warnings"] as string)).toMatchObject([
      { param: "tools[0]" },
      { param: "input[1]" },
    ]);
  });

  it.each([
    [{ model: "gpt-9", input: "Hi" }, 404, "model"],
    [{ input: 7 }, 400, "input"],
    [{ input: [{ type: "no_such_item" }] }, 400, "input[0].type"],
    [{ input: "Hi", previous_response_id: "resp_1" }, 404, "previous_response_id"],
    [{ input: "Hi", conversation: "conv_1" }, 404, "conversation"],
    [{ input: "Hi", conversation: 7 }, 400, "conversation"],
    [{ input: "Hi", temperature: 3 }, 400, "temperature"],
    [{ input: "Hi", tool_choice: "required" }, 400, "tool_choice"],
    [{ input: "word ".repeat(1_100_000) }, 400, "input"],
  ])("refuses what a response refuses, and more than a million tokens: case %#", async (body, status, param) => {
    await using server = await scriptedServer(said);
    expect(await post(server.app, url, body)).toMatchObject({ status, body: { error: { param } } });
  });

  it("knows the fields of its own reference, and no others", async () => {
    const { logger, of } = capturedLog();
    await using server = await scriptedServer(said, { server: { logger } });
    await post(server.app, url, { model, input: "Hi", personality: "friendly", parallel_tool_calls: true });
    expect(of.warn).toEqual([]);
    await post(server.app, url, { model, input: "Hi", persona: "x" });
    expect(of.warn).toMatchObject([[{ path: url, field: "persona" }, expect.any(String)]]);
  });

  it("serves OpenAI's client", async () => {
    await using server = await scriptedServer(said);
    const address = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
    const counted = await client.responses.inputTokens.count({ model, input: "Hi" });
    expect(counted).toMatchObject({ object: "response.input_tokens", input_tokens: expect.any(Number) });
  });
});
