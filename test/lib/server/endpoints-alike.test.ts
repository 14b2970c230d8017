import { describe, expect, it } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import { capturedLog } from "../../support/captured-log.js";
import { ids, scriptedServer } from "../../support/server.js";

/** What several endpoints have, they have alike. */

const model = "gpt-oss-20b";
const said = ids("<|channel|>final<|message|>Hello!<|return|>");
const user = { role: "user", content: "Hi" };
const chat = { url: "/v1/chat/completions", body: { model, messages: [user] } };
const completion = { url: "/v1/completions", body: { model, prompt: "Hi" } };
const response = { url: "/v1/responses", body: { model, input: "Hi" } };
const streams = [chat, completion, response];

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
