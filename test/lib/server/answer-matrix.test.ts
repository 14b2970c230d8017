import { Ajv } from "ajv";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/index.js";
import { createServer } from "../../../lib/server/index.js";
import { assembled, framesOf, type Json, post } from "../../support/server.js";

/**
 * Every combination of reasoning, calls and format, streamed and whole, on both APIs. With a model of random weights,
 * each answer is valid, and the streamed one equals the whole one.
 */

const model = "synthetic";
const ajv = new Ajv();
const city = { type: "string", maxLength: 12 };
const parameters = { type: "object", properties: { city }, required: ["city"], additionalProperties: false };
const answer = { type: "object", properties: { n: { type: "integer" } }, required: ["n"], additionalProperties: false };

const efforts = ["none", "low", "high"] as const;
const callings = ["absent", "auto", "required", "named", "none"] as const;
type Calling = (typeof callings)[number];
const table = efforts.flatMap((effort) =>
  callings.flatMap((calling) => [false, true].map((hasFormat) => [effort, calling, hasFormat] as const)),
);

let engine: Engine;
let app: FastifyInstance;
beforeAll(async () => {
  engine = await Engine.load("synthetic:wide", { backend: "cpu", contextLength: 2048 });
  app = await createServer({ engine, modelName: model, logger: false });
});
afterAll(async () => {
  await app.close();
  await engine.close();
});

async function streamed(url: string, payload: object): Promise<string> {
  const response = await app.inject({ method: "POST", url, payload: { ...payload, stream: true } });
  expect(response.statusCode).toBe(200);
  return response.payload;
}

/** The properties of every answer, in the common form of both APIs. */
function check(
  { reasoning, content, calls, isCut }: { reasoning: string; content: string; calls: Json[]; isCut: boolean },
  [effort, calling, hasFormat]: readonly [string, Calling, boolean],
): void {
  if (effort === "none") expect(reasoning).toBe("");
  const mustCall = calling === "required" || calling === "named";
  // A cut answer keeps what the request asks for: the limit leaves room for it.
  if (isCut && !mustCall && !hasFormat) return;
  if (mustCall) expect(calls).toHaveLength(1);
  if (calling === "absent" || calling === "none") expect(calls).toHaveLength(0);
  for (const { name, arguments: written } of calls) {
    expect(name).toBe("get_weather");
    expect(ajv.validate(parameters, JSON.parse(written)), written).toBe(true);
  }
  if (hasFormat && calls.length === 0) expect(ajv.validate(answer, JSON.parse(content)), content).toBe(true);
}

describe.concurrent.each(table)("effort %s, tools %s, format %s", (...row) => {
  const [effort, calling, hasFormat] = row;
  const seed = table.findIndex((other) => other.every((value, i) => value === row[i]));
  const hasTools = calling !== "absent";
  const choice = (named: object) => (calling === "named" ? named : calling);

  it("chat completions", async () => {
    const request = {
      model,
      seed,
      messages: [{ role: "user", content: "Hi" }],
      max_tokens: 120,
      reasoning: { effort, ...(effort !== "none" && { max_tokens: 6 }) },
      ...(hasTools && {
        tools: [{ type: "function", function: { name: "get_weather", parameters } }],
        tool_choice: choice({ type: "function", function: { name: "get_weather" } }),
      }),
      ...(hasFormat && { response_format: { type: "json_schema", json_schema: { name: "a", schema: answer } } }),
    };
    const { status, body } = await post(app, "/v1/chat/completions", request);
    expect([status, body.error]).toEqual([200, undefined]);
    const { message, finish_reason } = body.choices[0];
    const calls = (message.tool_calls ?? []).map((call: Json) => call.function);
    const isCut = finish_reason === "length";
    if (!isCut) expect(finish_reason).toBe(calls.length > 0 ? "tool_calls" : "stop");
    check({ reasoning: message.reasoning ?? "", content: message.content ?? "", calls, isCut }, row);

    const again = assembled(framesOf(await streamed("/v1/chat/completions", request)));
    const withoutIds = (text: object) => JSON.parse(JSON.stringify(text).replaceAll(/call_[0-9a-f]+/g, "call"));
    expect(withoutIds(again)).toEqual(withoutIds(body.choices[0]));
  });

  it("responses", async () => {
    const request = {
      model,
      seed,
      input: "Hi",
      max_output_tokens: 120,
      reasoning: { effort },
      ...(hasTools && {
        tools: [{ type: "function", name: "get_weather", parameters, strict: true }],
        tool_choice: choice({ type: "function", name: "get_weather" }),
      }),
      ...(hasFormat && { text: { format: { type: "json_schema", name: "a", schema: answer } } }),
    };
    const { status, body } = await post(app, "/v1/responses", request);
    expect([status, body.error]).toEqual([200, null]);
    const text = (type: string) =>
      body.output.flatMap((item: Json) => (item.type === type ? item.content.map((part: Json) => part.text) : []));
    const calls = body.output.filter(({ type }: Json) => type === "function_call");
    const isCut = body.status === "incomplete";
    check({ reasoning: text("reasoning").join(""), content: text("message").join("\n"), calls, isCut }, row);

    const events = (await streamed("/v1/responses", request))
      .split("\n\n")
      .filter((frame) => frame.startsWith("event:"));
    const last = JSON.parse(events.at(-1)!.split("\ndata: ")[1]!);
    const withoutIds = (value: object) =>
      JSON.parse(JSON.stringify(value).replaceAll(/(rs|msg|fc|call)_[0-9a-f]+/g, "$1"));
    expect(withoutIds(last.response.output)).toEqual(withoutIds(body.output));
  });
});
