import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { reply } from "../../../lib/testing/index.js";
import { scriptedServer } from "../../support/server.js";

describe("what is not there", () => {
  const absent: [method: "GET" | "POST" | "DELETE" | "PUT" | "PATCH", path: string][] = [
    ["POST", "/v1/responses/compact"],
    ["POST", "/v1/responses/resp_1"],
    ["PUT", "/v1/responses/resp_1"],
    ["GET", "/v1/responses/resp_1/cancel"],
    ["POST", "/v1/responses/resp_1/input_items"],
    ["GET", "/v1/responses/resp_1/output"],
    ["GET", "/v1/responses/compact"],
    ["PUT", "/v1/conversations/conv_1"],
    ["GET", "/v1/conversations/conv_1/responses"],
    ["POST", "/v1/conversations/conv_1/items/msg_1"],
    ["GET", "/v1/threads"],
    ["POST", "/v1/embeddings"],
    ["DELETE", "/v1/models/gpt-oss-20b"],
    ["POST", "/v1/models/load"],
    ["POST", "/v1/images/generations"],
    ["GET", "/v1/files"],
    ["POST", "/v1/batches"],
    ["POST", "/v1/moderations"],
  ];

  it.each(absent)("%s %s is 404", async (method, path) => {
    await using server = await scriptedServer([reply("Never written.")]);
    const { statusCode, headers, payload } = await server.app.inject({
      method,
      url: path,
      ...(method !== "GET" && method !== "DELETE" && { payload: { model: "gpt-oss-20b", input: "Hi" } }),
    });
    expect([statusCode, headers.allow]).toEqual([404, undefined]);
    expect(JSON.parse(payload)).toMatchObject({ error: { type: "not_found_error", param: null } });
  });

  it.each([
    ["GET", "/v1/responses", "POST"],
    ["PUT", "/v1/responses", "POST"],
    ["POST", "/v1/models", "GET, HEAD"],
    ["GET", "/v1/conversations", "POST"],
    ["DELETE", "/v1/chat/completions", "POST"],
    // The name of an endpoint is no id, although a route for ids takes the method.
    ["GET", "/v1/responses/input_tokens", "POST"],
    ["GET", "/v1/responses/input_tokens?stream=true", "POST"],
    ["DELETE", "/v1/responses/input_tokens", "POST"],
    ["PUT", "/v1/responses/input_tokens", "POST"],
    ["HEAD", "/v1/responses/input_tokens", "POST"],
  ] as const)("differs from a wrong method: %s %s", async (method, path, allow) => {
    await using server = await scriptedServer([reply("Never written.")]);
    const { statusCode, headers } = await server.app.inject({ method, url: path });
    expect([statusCode, headers.allow]).toEqual([405, allow]);
  });

  it("is so for OpenAI's client", async () => {
    await using server = await scriptedServer([reply("Never written.")]);
    const address = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
    const model = "gpt-oss-20b";
    await expect(client.responses.compact({ model, input: "Hi" })).rejects.toMatchObject({ status: 404 });
  });
});
