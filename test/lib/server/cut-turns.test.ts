import { Ajv } from "ajv";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/index.js";
import { createServer } from "../../../lib/server/index.js";
import type { ResponseObject } from "../../../lib/server/responses/objects.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { assembled, framesOf, type Json, post } from "../../support/server.js";

/**
 * A turn that `max_tokens` cuts says so. The model samples each token itself: a scripted one would write its script
 * whatever the limit is. The right answer is that of the same request with room for all that the model writes.
 */

const ajv = new Ajv();
const room = 160;
const text = { type: "string" };
const schema = { type: "object", properties: { a: text, b: text }, required: ["a", "b"], additionalProperties: false };
const format = { type: "json_schema", json_schema: { name: "x", schema } };
const tools = [{ type: "function", function: { name: "f", parameters: schema } }];

interface Served {
  app: FastifyInstance;
  close(): Promise<void>;
}

async function served(model: string): Promise<Served> {
  const engine = await Engine.load(model, { backend: "cpu", contextLength: 2048 });
  const app = await createServer({ engine, modelName: "m" });
  const close = async () => {
    await app.close();
    await engine.close();
  };
  return { app, close };
}

const question = "What is the capital of Japan?";

async function chat(app: FastifyInstance, fields: object): Promise<Json> {
  const request = { model: "m", messages: [{ role: "user", content: question }], ...fields };
  const { status, body } = await post(app, "/v1/chat/completions", request);
  expect([status, body.error]).toEqual([200, undefined]);
  return body;
}

async function payload(app: FastifyInstance, url: string, fields: object): Promise<string> {
  const response = await app.inject({ method: "POST", url, payload: { model: "m", stream: true, ...fields } });
  expect(response.statusCode).toBe(200);
  return response.payload;
}

async function respond(app: FastifyInstance, fields: object): Promise<ResponseObject> {
  const { status, body } = await post(app, "/v1/responses", { model: "m", input: question, ...fields });
  expect([status, body.error]).toEqual([200, null]);
  return body;
}

const said = ({ message: { reasoning = "", content } }: Json): [string, string] => [reasoning, content ?? ""];

describe("the demo model, which writes a thought and an answer", () => {
  let app: FastifyInstance;
  let close: () => Promise<void>;
  let whole: Json;
  const greedy = { temperature: 0 };
  beforeAll(async () => {
    ({ app, close } = await served("demo"));
    whole = await chat(app, { ...greedy, max_tokens: room });
  });
  afterAll(() => close());

  it("answers with reasoning and content, and stops by itself", () => {
    const [reasoning, content] = said(whole.choices[0]);
    expect(reasoning.length).toBeGreaterThan(10);
    expect(content.length).toBeGreaterThan(10);
    expect(whole.choices[0].finish_reason).toBe("stop");
  });

  it("is cut with length at each limit below the whole, and stops at the whole", async () => {
    const all: number = whole.usage.completion_tokens;
    const [reasoning, content] = said(whole.choices[0]);
    const limits = Array.from({ length: all + 2 }, (_, i) => i + 1);
    const seen = await Promise.all(
      limits.map(async (limit) => {
        const fields = { ...greedy, max_tokens: limit };
        const { choices, usage } = await chat(app, fields);
        const messages = [{ role: "user", content: question }];
        const streamed = assembled(
          framesOf(await payload(app, "/v1/chat/completions", { messages, ...fields })).slice(0, -1),
        );
        expect([streamed.finish_reason, ...said(streamed)]).toEqual([choices[0].finish_reason, ...said(choices[0])]);
        expect(usage.completion_tokens).toBe(Math.min(limit, all));
        return [choices[0].finish_reason, ...said(choices[0])] as [string, string, string];
      }),
    );
    for (const [i, [finish, thought, answer]] of seen.entries()) {
      expect(finish).toBe(limits[i]! < all ? "length" : "stop");
      expect(reasoning.startsWith(thought) && content.startsWith(answer)).toBe(true);
      if (answer !== "") expect(thought).toBe(reasoning);
    }
    expect(seen.some(([, thought, answer]) => thought !== "" && answer === "")).toBe(true);
    expect(seen.at(-1)).toEqual(["stop", reasoning, content]);
  });

  it("is incomplete in responses, and so is the item that was cut", async () => {
    const all: number = whole.usage.completion_tokens;
    const kinds = new Set<string>();
    for (let limit = 1; limit <= all; limit += limit < all - 4 ? 4 : 1) {
      const fields = { ...greedy, max_output_tokens: limit };
      const held = await respond(app, fields);
      const isCut = limit < all;
      expect(held.status).toBe(isCut ? "incomplete" : "completed");
      expect(held.incomplete_details).toEqual(isCut ? { reason: "max_output_tokens" } : null);
      const last: Json = held.output.at(-1);
      if (last?.status === "incomplete") kinds.add(last.type);
      for (const item of held.output as Json[]) {
        if (item !== last || !isCut) expect(item.status).toBe("completed");
      }
      const streamed = replayed(streamEvents(await payload(app, "/v1/responses", { input: question, ...fields })));
      const ends = (response: ResponseObject) => [
        response.status,
        response.incomplete_details,
        response.output.map(({ type, status }: Json) => [type, status]),
      ];
      expect(ends(streamed)).toEqual(ends(held));
    }
    expect([...kinds].sort()).toEqual(["message", "reasoning"]);
  });

  it("closes its reasoning at a budget, which cuts no answer", async () => {
    const { choices } = await chat(app, { ...greedy, reasoning: { max_tokens: 3 }, max_tokens: room });
    expect(choices[0].finish_reason).toBe("stop");
    const [reasoning, content] = said(choices[0]);
    expect(said(whole.choices[0])[0].startsWith(reasoning)).toBe(true);
    expect(reasoning.length).toBeLessThan(said(whole.choices[0])[0].length);
    expect(content).not.toBe("");
  });

  it("ends with stop at a stop string, and with length where the limit comes first", async () => {
    const [, content] = said(whole.choices[0]);
    const stop = content.slice(-6, -1);
    const stopped = await chat(app, { ...greedy, stop, max_tokens: room });
    expect(stopped.choices[0]).toMatchObject({ finish_reason: "stop", stop_reason: stop });
    const limit = stopped.usage.completion_tokens - 2;
    const cut = await chat(app, { ...greedy, stop, max_tokens: limit });
    expect(cut.choices[0]).toMatchObject({ finish_reason: "length", stop_reason: null });
  });
});

describe.each(["synthetic:wide", "demo"])("%s, without training on schemas", (model) => {
  let app: FastifyInstance;
  let close: () => Promise<void>;
  beforeAll(async () => {
    ({ app, close } = await served(model));
  });
  afterAll(() => close());

  // Short texts end by themselves now and then; long ones seldom do.
  const short = { ...text, maxLength: 4 };
  const asShort = { ...schema, properties: { a: short, b: short } };
  const count = 6;
  const rows: [string, number[], object, object, (choice: Json) => string, string][] = [
    ["a format", [40, 80], { response_format: format }, schema, ({ message }) => message.content, "stop"],
    ["a required call", [40, 80], { tools, tool_choice: "required" }, schema, callOf, "tool_calls"],
    [
      "a named call of short texts",
      [29, 31, 33, 60],
      {
        tools: [{ type: "function", function: { name: "f", parameters: asShort } }],
        tool_choice: { type: "function", function: { name: "f" } },
      },
      asShort,
      callOf,
      "tool_calls",
    ],
    [
      "a format of short texts",
      [17, 19, 21, 60],
      { response_format: { type: "json_schema", json_schema: { name: "x", schema: asShort } } },
      asShort,
      ({ message }) => message.content,
      "stop",
    ],
  ];

  function callOf({ message }: Json): string {
    return message.tool_calls[0].function.arguments;
  }

  it.each(rows)(
    "%s is whole at every limit; what the limit shortened says length",
    async (_, limits, fields, of, read, end) => {
      const request = { temperature: 1, n: count, seed: 5, reasoning: { max_tokens: 4 }, ...fields };
      const free = await chat(app, { ...request, max_tokens: room });
      const ends = new Set<string>();
      for (const limit of limits) {
        const held = await chat(app, { ...request, max_tokens: limit });
        for (const [i, choice] of held.choices.entries()) {
          const written = read(choice);
          expect(ajv.validate(of, JSON.parse(written)), written).toBe(true);
          const same =
            JSON.stringify([said(choice), written]) === JSON.stringify([said(free.choices[i]), read(free.choices[i])]);
          expect(choice.finish_reason, `${limit}: ${written}`).toBe(same ? end : "length");
          ends.add(choice.finish_reason);
        }
      }
      expect(ends).toContain("length");
      if (of === asShort) expect(ends).toContain(end);
    },
  );

  it("an item that the limit closed is incomplete, and the response too", async () => {
    const closed = [
      { text: { format: { ...format.json_schema, type: "json_schema" } } },
      { tools: [{ type: "function", ...tools[0]!.function }], tool_choice: "required" },
    ];
    for (const fields of closed) {
      const request = { ...fields, temperature: 1, seed: 3, reasoning: { max_tokens: 2 }, max_output_tokens: 60 };
      const whole = await respond(app, request);
      const last: Json = whole.output.at(-1);
      expect(ajv.validate(schema, JSON.parse(last.arguments ?? last.content[0].text))).toBe(true);
      expect([whole.status, last.status]).toEqual(["incomplete", "incomplete"]);
      // A call that is whole can be answered, although it was closed in time.
      if (last.call_id !== undefined) {
        const input = [{ type: "function_call_output", call_id: last.call_id, output: "1" }];
        await respond(app, { input, previous_response_id: whole.id, max_output_tokens: 1 });
      }
      const events = streamEvents(await payload(app, "/v1/responses", { input: question, ...request }));
      expect(events.at(-1)!.type).toBe("response.incomplete");
      expect((replayed(events).output.at(-1) as Json).status).toBe("incomplete");
    }
  });

  it("a call that nothing requires is cut like a text", async () => {
    const cut = await chat(app, { temperature: 1, n: 8, seed: 2, tools, max_tokens: 8 });
    const { choices } = await chat(app, { temperature: 1, n: 8, seed: 2, tools, max_tokens: 60 });
    for (const { finish_reason, message } of choices) {
      if (finish_reason === "length") continue;
      expect(finish_reason).toBe(message.tool_calls ? "tool_calls" : "stop");
      if (message.tool_calls) expect(ajv.validate(schema, JSON.parse(callOf({ message })))).toBe(true);
    }
    for (const { finish_reason } of cut.choices) expect(finish_reason).toBe("length");
  });
});

describe.each(["synthetic:tiny", "demo"])("completions of %s", (model) => {
  let app: FastifyInstance;
  let close: () => Promise<void>;
  beforeAll(async () => {
    ({ app, close } = await served(model));
  });
  afterAll(() => close());

  const complete = async (fields: object): Promise<Json> => {
    const request = { model: "m", prompt: [1, 2, 3], temperature: 1, seed: 7, n: 8, ...fields };
    const { status, body } = await post(app, "/v1/completions", request);
    expect([status, body.error]).toEqual([200, undefined]);
    return body.choices;
  };

  it("with a format are whole, and say length where the limit shortened them", async () => {
    const pattern = "([a-z]{1,4} ?){1,6}\\.";
    const fields = { structured_outputs: { regex: pattern }, logprobs: 1 };
    const free = await complete({ ...fields, max_tokens: 200 });
    const ends = new Set<string>();
    for (const max_tokens of [6, 9, 12, 16]) {
      for (const [i, { text, finish_reason, stop_reason, logprobs }] of (
        await complete({ ...fields, max_tokens })
      ).entries()) {
        expect(text).toMatch(new RegExp(`^${pattern}$`));
        expect(logprobs.tokens.join("")).toBe(text); // the token that ends it is no text
        expect([finish_reason, stop_reason]).toEqual([text === free[i].text ? "stop" : "length", null]);
        ends.add(finish_reason);
      }
    }
    expect(ends).toContain("length");
  });

  it("without a format are cut at the limit, as ever", async () => {
    for (const { finish_reason, stop_reason } of await complete({ max_tokens: 5, ignore_eos: true })) {
      expect([finish_reason, stop_reason]).toEqual(["length", null]);
    }
  });
});
