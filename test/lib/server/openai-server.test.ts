import { Agent, OpenAIProvider, Runner, tool } from "@openai/agents";
import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createServer } from "../../../lib/server/index.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { ids } from "../../support/server.js";

/** OpenAI's own clients against the whole server. Only the model is scripted. */

const model = "gpt-oss-20b";
const weatherArguments = '{"city":"Rome"}';
const calling = ids(
  "<|channel|>analysis<|message|>Need the weather.<|end|><|start|>assistant<|channel|>commentary<|message|>One moment." +
    "<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" +
    `${weatherArguments}<|call|>`,
);
const answering = ids(
  "<|channel|>analysis<|message|>It is sunny.<|end|><|start|>assistant<|channel|>final<|message|>Sunny ☀️ in Rome.<|return|>",
);
const answer = "Sunny ☀️ in Rome.";
const question = "Weather in Rome?";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const chatTool: OpenAI.ChatCompletionTool = { type: "function", function: { name: "get_weather", parameters } };
const responsesTool: OpenAI.Responses.FunctionTool = {
  type: "function",
  name: "get_weather",
  parameters,
  strict: true,
};

interface Served extends AsyncDisposable {
  engine: ScriptedEngine;
  client: OpenAI;
}

async function served(scripts: readonly number[][], tokensPerStep = 3): Promise<Served> {
  const engine = new ScriptedEngine(scripts.map((tokens) => ({ tokens, tokensPerStep })));
  const app = await createServer({ engine, modelName: model, logger: false, apiKeys: ["secret"] });
  const address = await app.listen({ host: "127.0.0.1", port: 0 });
  const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "secret", maxRetries: 0 });
  const close = async () => {
    await app.close();
    await engine.close();
  };
  return { engine, client, [Symbol.asyncDispose]: close };
}

describe("chat completions", () => {
  it("are told whole, with reasoning, content, calls and usage", async () => {
    await using it = await served([calling]);
    const { choices, usage } = await it.client.chat.completions.create({
      model,
      messages: [{ role: "user", content: question }],
      tools: [chatTool],
    });
    expect(choices).toMatchObject([
      {
        finish_reason: "tool_calls",
        message: {
          content: "One moment.",
          reasoning: "Need the weather.",
          tool_calls: [{ type: "function", function: { name: "get_weather", arguments: weatherArguments } }],
        },
      },
    ]);
    expect(usage).toMatchObject({
      completion_tokens: calling.length,
      prompt_tokens: it.engine.requests[0]!.promptTokens.length,
    });
  });

  it("are streamed to the same", async () => {
    await using it = await served([calling, answering], 1);
    const request = { model, messages: [{ role: "user" as const, content: question }], tools: [chatTool] };
    const stream = it.client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
    const { choices, usage } = await stream.finalChatCompletion();
    expect(choices[0]!.finish_reason).toBe("tool_calls");
    expect(choices[0]!.message).toMatchObject({
      content: "One moment.",
      tool_calls: [{ function: { name: "get_weather", arguments: weatherArguments } }],
    });
    expect(usage!.completion_tokens).toBe(calling.length);

    const contents: string[] = [];
    for await (const chunk of await it.client.chat.completions.create({ ...request, stream: true })) {
      contents.push(chunk.choices[0]?.delta.content ?? "");
    }
    expect(contents.join("")).toBe(answer);
    expect(contents.join("\n")).not.toContain("\uFFFD");
  });

  it("run the tools of the client", async () => {
    await using it = await served([calling, answering]);
    const cities: string[] = [];
    const runner = it.client.chat.completions.runTools({
      model,
      messages: [{ role: "user", content: question }],
      tools: [
        {
          type: "function",
          function: {
            name: "get_weather",
            description: "",
            parameters,
            parse: JSON.parse,
            function: ({ city }: { city: string }) => {
              cities.push(city);
              return "sunny";
            },
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe(answer);
    expect(cities).toEqual(["Rome"]);
    // The call is sent back to the model unchanged, with the reasoning before it, which this client does not send.
    const [, second] = it.engine.requests;
    expect(it.engine.tokenizer.decode(Uint32Array.from(second!.promptTokens))).toContain("Need the weather.");
  });
});

describe("responses", () => {
  it("are stored as they were streamed", async () => {
    await using it = await served([calling, answering]);
    const stream = it.client.responses.stream({ model, input: question, tools: [responsesTool] });
    const types: string[] = [];
    for await (const event of stream) types.push(event.type);
    const final = await stream.finalResponse();
    expect(types[0]).toBe("response.created");
    expect(types.at(-1)).toBe("response.completed");
    expect(final.output.map(({ type }) => type)).toEqual(["reasoning", "message", "function_call"]);
    const stored = await it.client.responses.retrieve(final.id);
    expect(stored.output).toMatchObject(
      JSON.parse(JSON.stringify(final.output, (key, v) => (key.startsWith("parsed") ? undefined : v))),
    );
    expect(stored.usage).toEqual(final.usage);

    const call = final.output.at(-1) as OpenAI.Responses.ResponseFunctionToolCall;
    const next = await it.client.responses.create({
      model,
      previous_response_id: final.id,
      input: [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }],
      tools: [responsesTool],
    });
    expect(next.output_text).toBe(answer);
    // The engine gets its own text back in the same tokens.
    const [first, second] = it.engine.requests;
    expect([...second!.promptTokens.slice(0, first!.promptTokens.length + calling.length)]).toEqual([
      ...first!.promptTokens,
      ...calling,
    ]);
    expect((await it.client.responses.retrieve(next.id)).output).toEqual(next.output);
  });
});

describe("agents", () => {
  for (const api of ["chat completions", "responses"]) {
    it.each([false, true])(`run a tool loop over ${api} (stream: %s)`, async (stream) => {
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
      await using it = await served([calling, answering]);
      const modelProvider = new OpenAIProvider({ openAIClient: it.client, useResponses: api === "responses" });
      const runner = new Runner({ modelProvider, tracingDisabled: true });
      const agent = new Agent({ name: "Weather", instructions: "Be brief.", model, tools: [getWeather] });
      if (stream) {
        const run = await runner.run(agent, question, { stream: true });
        let text = "";
        for await (const part of run.toTextStream()) text += part;
        await run.completed;
        expect(text).toContain(answer);
        expect(run.finalOutput).toBe(answer);
      } else {
        expect((await runner.run(agent, question)).finalOutput).toBe(answer);
      }
      expect(cities).toEqual(["Rome"]);
      expect(it.engine.requests).toHaveLength(2);
    });
  }
});

describe("keys", () => {
  it("are asked for", async () => {
    await using it = await served([answering]);
    const stranger = new OpenAI({ baseURL: it.client.baseURL, apiKey: "wrong", maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 401, code: "invalid_api_key" });
    expect((await it.client.models.list()).data.map(({ id }) => id)).toEqual([model]);
  });
});
