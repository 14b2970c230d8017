import { describe, expect, it } from "vitest";
import { capturedLog } from "../../support/captured-log.js";
import { ids, scriptedServer } from "../../support/server.js";

/** Text in a header is no part of an answer. The log says so, once for each request. */

const lost =
  "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final to=x lost words<|message|>Hi<|return|>";
const messages = [{ role: "user", content: "Hi" }];

describe("text in a header", () => {
  it.each([
    ["/v1/chat/completions", { messages }, 9],
    ["/v1/chat/completions", { messages, stream: true }, 9],
    ["/v1/chat/completions", { messages, n: 2 }, 18],
    ["/v1/responses", { input: "Hi" }, 9],
    ["/v1/responses", { input: "Hi", stream: true }, 9],
  ])("is counted in the log: %s %j", async (url, body, characters) => {
    const { logger, of } = capturedLog();
    const warn = (fields: object) => (line: object, text: string) => logger.warn({ ...fields, ...line }, text);
    const child = (fields: object) => ({ ...logger, warn: warn(fields) });
    Object.assign(logger, { child });
    await using server = await scriptedServer([{ tokens: ids(lost) }], { server: { logger } });
    const headers = { "x-request-id": "req-7" };
    const payload = { model: "gpt-oss-20b", ...body };
    const answer = await server.app.inject({ method: "POST", url, payload, headers });
    expect(answer.statusCode).toBe(200);
    expect(of.warn).toEqual([
      [{ reqId: "req-7", characters }, "the model wrote text in a header, where it is no part of the answer"],
    ]);
    expect(JSON.stringify(of)).not.toContain("lost words");
  });

  it("is not told where there is none", async () => {
    const { logger, of } = capturedLog();
    const script = { tokens: ids("<|channel|>final<|message|>Hi<|return|>") };
    await using server = await scriptedServer([script], { server: { logger } });
    const payload = { model: "gpt-oss-20b", messages };
    await server.app.inject({ method: "POST", url: "/v1/chat/completions", payload });
    expect(of.warn).toEqual([]);
  });
});
