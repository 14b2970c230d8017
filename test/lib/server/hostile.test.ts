import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { continued, hostileRequests, isText, servedModel } from "../../../bench/hostile/requests.js";
import { GptOssError } from "../../../lib/errors.js";
import { apiError } from "../../../lib/server/http/errors.js";
import { createServer } from "../../../lib/server/index.js";
import { reply, ScriptedEngine } from "../../../lib/testing/index.js";

/** A smaller version of bench/hostile.ts. It checks the answer to each request; the bench measures the costs. */

let app: FastifyInstance;
let engine: ScriptedEngine;
beforeAll(async () => {
  engine = new ScriptedEngine([reply("x")], { contextLength: 4096 });
  app = await createServer({ engine, modelName: servedModel, logger: false });
  await app.ready();
});
afterAll(async () => {
  await app.close();
  await engine.close();
});

async function send(
  { method, path, headers, body, chain = 0 }: ReturnType<typeof hostileRequests>[number],
  previousId: string | null = null,
): Promise<{ status: number; text: string }> {
  if (chain > 0) {
    const { text } = await send({ name: path, method, path, ...(body && { body }) }, previousId);
    const { id } = JSON.parse(text) as { id: string };
    return send({ name: path, method, path, ...(body && { body }), chain: chain - 1 }, id);
  }
  const made = continued(body?.(), previousId);
  const payload = made === undefined || isText(made) ? made : JSON.stringify(made);
  const { statusCode, body: text } = await app.inject({
    method,
    url: path,
    headers: { ...(payload !== undefined && { "content-type": "application/json" }), ...headers },
    ...(payload !== undefined && { payload }),
  });
  return { status: statusCode, text };
}

describe("hostile requests, small", () => {
  it.each(hostileRequests({ scale: 0.005 }))("$name: an answer, or a refusal by name", async (request) => {
    const { status, text } = await send(request);
    expect(status, text.slice(0, 500)).toBeLessThan(500);
    if (status < 400) return;
    expect(JSON.parse(text)).toEqual({
      error: {
        message: expect.stringMatching(/^.{1,2001}$/s),
        type: expect.any(String),
        param: text.includes('"param":null') ? null : expect.stringMatching(/^.{1,2001}$/),
        code: text.includes('"code":null') ? null : expect.any(String),
      },
    });
  });
});

describe("requests larger than anything here holds", () => {
  const chat = "/v1/chat/completions";
  const responses = "/v1/responses";
  const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const call = (i: number) => ({ type: "function_call", call_id: `c${i}`, name: "f", arguments: "{}" });
  const calls = many(1400, (i) => ({ id: `c${i}`, type: "function", function: { name: "f", arguments: "{}" } }));
  const user = { role: "user", content: "x" };
  const cases: [string, string, object, number, string, string | null][] = [
    ["messages", chat, { messages: many(1400, () => user) }, 400, "messages", "context_length_exceeded"],
    [
      "calls",
      chat,
      { messages: [user, { role: "assistant", tool_calls: calls }] },
      400,
      "messages",
      "context_length_exceeded",
    ],
    ["tools", chat, { messages: [user], tools: many(1025, (i) => ({ type: `t${i}` })) }, 400, "tools", "invalid_value"],
    ["tools", responses, { input: "x", tools: many(1025, (i) => ({ type: `t${i}` })) }, 400, "tools", "invalid_value"],
    [
      "things to include",
      responses,
      { input: "x", include: many(65, () => "reasoning.encrypted_content") },
      400,
      "include",
      "invalid_value",
    ],
    ["items", responses, { input: many(1400, () => user) }, 400, "input", "context_length_exceeded"],
    ["calls", responses, { input: many(1400, call) }, 400, "input", "context_length_exceeded"],
    [
      "calls, truncation auto",
      responses,
      { input: many(1400, call), truncation: "auto" },
      400,
      "input",
      "context_length_exceeded",
    ],
  ];
  it.each(cases)("%s in %s", async (_, path, body, status, param, code) => {
    const answer = await send({ name: "", method: "POST", path, body: () => ({ model: servedModel, ...body }) });
    expect([answer.status, JSON.parse(answer.text).error]).toEqual([status, expect.objectContaining({ param, code })]);
  });

  it("fields of a body", async () => {
    const body = () => Object.fromEntries(many(1001, (i) => [`k${i}`, 1]));
    const answer = await send({ name: "", method: "POST", path: chat, body });
    expect([answer.status, answer.text]).toEqual([413, expect.stringContaining("more than 1000 fields")]);
  });

  it.each(["OUT_OF_MEMORY", "RESOURCE_LIMIT"] as const)("%s is worth another try", (code) => {
    const told = apiError(new GptOssError(code, "no room"));
    expect([told.status, told.code, told.retryAfter]).toEqual([503, code.toLowerCase(), 1]);
  });

  it("tokens to write out", async () => {
    const body = () => ({ model: servedModel, tokens: many(2 ** 20 + 1, () => 1) });
    const answer = await send({ name: "", method: "POST", path: "/detokenize", body });
    expect([answer.status, JSON.parse(answer.text).error.param]).toEqual([400, "tokens"]);
  });

  it("a text to count", async () => {
    const body = () => ({ model: servedModel, prompt: "a ".repeat(2 ** 20) });
    const answer = await send({ name: "", method: "POST", path: "/tokenize", body });
    expect([answer.status, JSON.parse(answer.text).error.param]).toEqual([400, "prompt"]);
  });

  it("items that may be dropped are not even read", async () => {
    const input = [{ role: "developer", content: "be" }, ...many(3000, (i) => (i < 1000 ? { role: "user" } : user))];
    const body = { model: servedModel, input, truncation: "auto" };
    const answer = await send({ name: "", method: "POST", path: responses, body: () => body });
    expect(answer.status, answer.text).toBe(200);
  });

  it("items that are read are named by their place", async () => {
    const input = [...many(3000, () => user), { role: "user" }];
    const body = { model: servedModel, input, truncation: "auto" };
    const answer = await send({ name: "", method: "POST", path: responses, body: () => body });
    expect([answer.status, JSON.parse(answer.text).error.param]).toEqual([400, "input[3000].content"]);
  });
});
