import { Agent, OpenAIProvider, Runner, tool, toolNamespace } from "@openai/agents";
import OpenAI, { NotFoundError } from "openai";
import { describe, expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import type { OutputItem, ResponseObject } from "../../../lib/server/responses/objects.js";
import { call, final, preamble, reasoning, type ScriptedTurn, turn } from "../../support/scripted-turns.js";
import { type TurnServer, turnServer } from "../../support/turn-server.js";

/** OpenAI's own clients against a listening server. */

const model = "gpt-oss-20b";
const hello = turn([reasoning("They greet."), final("Hello!")], { logprobs: true });
const weatherArguments = '{"city":"Rome"}';
const calling = turn([reasoning("Need the weather."), preamble("One moment."), call("get_weather", weatherArguments)]);
const answering = turn([reasoning("Sunny."), final("It is sunny in Rome.")]);

interface Served extends AsyncDisposable {
  server: TurnServer;
  client: OpenAI;
}

async function served(turns: readonly ScriptedTurn[]): Promise<Served> {
  const server = await turnServer(turns);
  const client = new OpenAI({ baseURL: await server.baseUrl(), apiKey: "none", maxRetries: 0 });
  return { server, client, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const weatherTool: OpenAI.Responses.FunctionTool = {
  type: "function",
  name: "get_weather",
  description: "Weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: true,
};

/** The value as a client reads it: iterables become lists in JSON. */
type Received<T> = T extends string
  ? T
  : T extends Iterable<infer U>
    ? Received<U>[]
    : T extends object
      ? { [K in keyof T]: Received<T[K]> }
      : T;

describe("openai, responses", () => {
  it("agrees with the types here", () => {
    type Same =
      | "id"
      | "object"
      | "created_at"
      | "completed_at"
      | "incomplete_details"
      | "metadata"
      | "model"
      | "status";
    expectTypeOf<Received<OutputItem>>().toExtend<OpenAI.Responses.ResponseOutputItem>();
    expectTypeOf<Pick<ResponseObject, Same>>().toExtend<Pick<OpenAI.Responses.Response, Same>>();
  });

  it("create", async () => {
    await using it = await served([hello]);
    const response = await it.client.responses.create({ model, input: "Hi", reasoning: { effort: "high" } });
    expect(response).toMatchObject({ output_text: "Hello!", status: "completed", usage: { total_tokens: 32 } });
    expect(it.server.player.last).toMatchObject({ effort: "high", messages: [{ role: "user", content: "Hi" }] });
  });

  it("create with stream", async () => {
    await using it = await served([hello]);
    const deltas: string[] = [];
    for await (const event of await it.client.responses.create({ model, input: "Hi", stream: true })) {
      if (event.type === "response.output_text.delta") deltas.push(event.delta);
      if (event.type === "response.completed") expect(event.response.usage?.input_tokens).toBe(20);
    }
    expect(deltas).toEqual(["Hel", "lo!"]);
  });

  it("stream, whose snapshots end in the response that is stored", async () => {
    await using it = await served([calling]);
    const stream = it.client.responses.stream({ model, input: "Weather?", tools: [weatherTool] });
    const snapshots: string[] = [];
    stream.on("response.function_call_arguments.delta", ({ snapshot }) => snapshots.push(snapshot));
    const response = await stream.finalResponse();
    expect(snapshots.at(-1)).toBe(weatherArguments);
    expect(response.output.map(({ type }) => type)).toEqual(["reasoning", "message", "function_call"]);
    expect(response.output[0]).toMatchObject({ content: [{ type: "reasoning_text", text: "Need the weather." }] });
    const stored = await it.client.responses.retrieve(response.id);
    expect(stored.output_text).toBe(response.output_text);
    expect(JSON.parse(JSON.stringify(response.output))).toMatchObject(stored.output);
  });

  it("log probabilities", async () => {
    await using it = await served([hello]);
    const include = ["message.output_text.logprobs" as const];
    const { output } = await it.client.responses.create({ model, input: "Hi", include, top_logprobs: 1 });
    expect(output[1]).toMatchObject({ content: [{ logprobs: [{ token: "Hel", logprob: -1 }, { token: "lo!" }] }] });
  });

  it("a tool loop over previous_response_id", async () => {
    await using it = await served([calling, answering]);
    const first = await it.client.responses.create({ model, input: "Weather?", tools: [weatherTool] });
    const made = first.output.find((item) => item.type === "function_call")!;
    expect(made).toMatchObject({ name: "get_weather", arguments: weatherArguments, status: "completed" });
    const second = await it.client.responses.create({
      model,
      previous_response_id: first.id,
      input: [{ type: "function_call_output", call_id: made.call_id, output: "sunny" }],
      tools: [weatherTool],
    });
    expect(second.output_text).toBe("It is sunny in Rome.");
    expect(it.server.player.last.messages).toMatchObject([
      { role: "user" },
      { reasoning: "Need the weather." },
      { channel: "commentary", content: "One moment." },
      { tool_calls: [{ id: made.call_id }] },
      { role: "tool", tool_call_id: made.call_id, content: "sunny" },
    ]);
  });

  it("a custom tool, whose input comes decoded", async () => {
    const input = '*** "Patch"\n';
    await using it = await served([turn([call("edit", JSON.stringify({ input }))]), answering]);
    const tools: OpenAI.Responses.CustomTool[] = [{ type: "custom", name: "edit", format: { type: "text" } }];
    const stream = it.client.responses.stream({ model, input: "Edit.", tools });
    let written = "";
    stream.on("response.custom_tool_call_input.delta", ({ delta }) => {
      written += delta;
    });
    const { id, output } = await stream.finalResponse();
    const made = output.find((item) => item.type === "custom_tool_call")!;
    expect([written, made.name, made.input]).toEqual([input, "edit", input]);
    const next = await it.client.responses.create({
      model,
      previous_response_id: id,
      input: [{ type: "custom_tool_call_output", call_id: made.call_id, output: "done" }],
      tools,
    });
    expect(next.output_text).toBe("It is sunny in Rome.");
  });

  it("parse with a schema", async () => {
    await using it = await served([turn([final('{"city":"Rome"}')])]);
    const schema = z.object({ city: z.string() });
    const format = {
      type: "json_schema" as const,
      name: "place",
      strict: true,
      schema: z.toJSONSchema(schema) as Record<string, unknown>,
    };
    const { output_text } = await it.client.responses.create({ model, input: "Where?", text: { format } });
    expect(schema.parse(JSON.parse(output_text))).toEqual({ city: "Rome" });
    expect(it.server.player.last.format).toMatchObject({ type: "json_schema", name: "place" });
  });

  it("the input items, page by page; deletion", async () => {
    await using it = await served([hello]);
    const input = ["a", "b", "c"].map((content) => ({ role: "user" as const, content }));
    const { id } = await it.client.responses.create({ model, input });
    const texts: unknown[] = [];
    for await (const item of it.client.responses.inputItems.list(id, { limit: 2, order: "asc" })) {
      if (item.type === "message") texts.push(item.content[0]);
    }
    expect(texts).toMatchObject([{ text: "a" }, { text: "b" }, { text: "c" }]);
    await it.client.responses.delete(id);
    await expect(it.client.responses.retrieve(id)).rejects.toBeInstanceOf(NotFoundError);
  });

  it("errors have their class, parameter and code", async () => {
    await using it = await served([hello]);
    await expect(it.client.responses.create({ model: "gpt-4", input: "Hi" })).rejects.toMatchObject({
      status: 404,
      code: "model_not_found",
      param: "model",
      type: "not_found_error",
    });
    await expect(it.client.responses.create({ model, input: "Hi", temperature: 3 })).rejects.toMatchObject({
      status: 400,
      param: "temperature",
      type: "invalid_request_error",
    });
  });
});

describe("agents, responses", () => {
  const cities: string[] = [];
  const getWeather = tool({
    name: "get_weather",
    description: "Weather of a city",
    parameters: z.object({ city: z.string() }),
    execute: ({ city }) => {
      cities.push(city);
      return "sunny";
    },
  });

  function agent(it: Served): { runner: Runner; agent: Agent } {
    const modelProvider = new OpenAIProvider({ openAIClient: it.client, useResponses: true });
    return {
      runner: new Runner({ modelProvider, tracingDisabled: true }),
      agent: new Agent({ name: "Weather", instructions: "Be brief.", model, tools: [getWeather] }),
    };
  }

  it.each([false, true])("run a tool loop with the reasoning kept (stream: %s)", async (stream) => {
    cities.length = 0;
    await using it = await served([calling, answering]);
    const { runner, agent: weather } = agent(it);
    if (stream) {
      const run = await runner.run(weather, "Weather in Rome?", { stream: true });
      let text = "";
      for await (const part of run.toTextStream()) text += part;
      await run.completed;
      expect(text).toContain("It is sunny in Rome.");
      expect(run.finalOutput).toBe("It is sunny in Rome.");
    } else {
      const run = await runner.run(weather, "Weather in Rome?");
      expect(run.finalOutput).toBe("It is sunny in Rome.");
      const [first] = run.rawResponses;
      const thoughts = first!.output.filter(({ type }) => type === "reasoning");
      expect(thoughts).toMatchObject([
        { providerData: { content: [{ type: "reasoning_text", text: "Need the weather." }] } },
      ]);
    }
    expect(cities).toEqual(["Rome"]);
    const [first, second] = it.server.player.requests;
    expect(first).toMatchObject({ instructions: "Be brief.", tools: [{ name: "get_weather", strict: true }] });
    expect(second!.messages).toMatchObject([
      { role: "user", content: "Weather in Rome?" },
      { role: "assistant", reasoning: "Need the weather." },
      { role: "assistant", channel: "commentary", content: "One moment." },
      { role: "assistant", tool_calls: [{ function: { name: "get_weather", arguments: weatherArguments } }] },
      { role: "tool", content: "sunny" },
    ]);
  });

  it("run a tool of a namespace", async () => {
    cities.length = 0;
    const inSky = turn([call("sky__get_weather", weatherArguments)]);
    await using it = await served([inSky, answering]);
    const { runner } = agent(it);
    const tools = toolNamespace({ name: "sky", description: "The sky.", tools: [getWeather] });
    const run = await runner.run(new Agent({ name: "Weather", model, tools: [...tools] }), "Weather in Rome?");
    expect([run.finalOutput, cities]).toEqual(["It is sunny in Rome.", ["Rome"]]);
    const [first, second] = it.server.player.requests;
    expect(first!.tools).toMatchObject([{ name: "sky__get_weather" }]);
    expect(second!.messages).toMatchObject([
      { role: "user" },
      { tool_calls: [{ function: { name: "sky__get_weather", arguments: weatherArguments } }] },
      { role: "tool", content: "sunny" },
    ]);
  });
});
