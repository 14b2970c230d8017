import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { ApiError } from "../../../lib/server/http/errors.js";
import { Ticket } from "../../../lib/server/limits/limits.js";
import { Tenant } from "../../../lib/server/tenants/tenant.js";
import type { TurnRequest } from "../../../lib/server/turn/turn.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, preamble, reasoning, type ScriptedTurn, turn } from "../../support/scripted-turns.js";
import { turnServer } from "../../support/turn-server.js";

const hello = turn([reasoning("They greet."), final("Hello!")]);
const weather = {
  type: "function",
  name: "get_weather",
  description: "Weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: true,
};
const ask = { model: "gpt-oss-20b", input: "Hi" };

/** The body's fields as the turn received them. */
async function asked(body: object, turns: ScriptedTurn[] = [hello]): Promise<TurnRequest> {
  await using server = await turnServer(turns);
  const { status, text } = await server.post({ ...ask, ...body });
  expect(status, text).toBe(200);
  return server.player.last;
}

async function refusal(body: object): Promise<{ status: number; param: string | null; code: string | null }> {
  await using server = await turnServer([hello]);
  const { status, json } = await server.post({ ...ask, ...body });
  expect(json.error).toEqual({
    message: expect.any(String),
    type: status === 404 ? "not_found_error" : "invalid_request_error",
    param: json.error.param,
    code: json.error.code,
  });
  expect(server.player.requests).toEqual([]);
  return { status, param: json.error.param, code: json.error.code };
}

describe("the response", () => {
  it("has every field, and items in the order in which they were written", async () => {
    await using server = await turnServer([
      turn([reasoning("Think."), preamble("One moment."), call("get_weather", '{"city":"Rome"}', "call_7")]),
    ]);
    const body = { ...ask, tools: [weather], metadata: { a: "b" }, user: "u", instructions: "Be brief." };
    const { status, json } = await server.post(body);
    const now = server.clock.now.getTime() / 1000;
    expect(status).toBe(200);
    expect(json).toEqual({
      id: expect.stringMatching(/^resp_[0-9a-f]{32}$/),
      object: "response",
      created_at: now,
      completed_at: now,
      status: "completed",
      background: false,
      error: null,
      incomplete_details: null,
      instructions: "Be brief.",
      max_output_tokens: null,
      max_tool_calls: null,
      model: "gpt-oss-20b",
      output: [
        {
          type: "reasoning",
          id: expect.stringMatching(/^rs_[0-9a-f]{32}$/),
          summary: [],
          content: [{ type: "reasoning_text", text: "Think." }],
          status: "completed",
        },
        {
          type: "message",
          id: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
          role: "assistant",
          phase: "commentary",
          status: "completed",
          content: [{ type: "output_text", text: "One moment.", annotations: [], logprobs: [] }],
        },
        {
          type: "function_call",
          id: expect.stringMatching(/^fc_[0-9a-f]{32}$/),
          call_id: "call_7",
          name: "get_weather",
          arguments: '{"city":"Rome"}',
          status: "completed",
        },
      ],
      parallel_tool_calls: true,
      presence_penalty: 0,
      frequency_penalty: 0,
      previous_response_id: null,
      prompt_cache_key: null,
      reasoning: { effort: "medium", summary: null },
      safety_identifier: null,
      service_tier: "default",
      store: true,
      temperature: 1,
      text: { format: { type: "text" } },
      tool_choice: "auto",
      tools: [weather],
      top_logprobs: 0,
      top_p: 1,
      truncation: "disabled",
      usage: {
        input_tokens: 20,
        input_tokens_details: { cached_tokens: 8, cache_write_tokens: 12 },
        output_tokens: 12,
        output_tokens_details: { reasoning_tokens: 5 },
        total_tokens: 32,
      },
      user: "u",
      metadata: { a: "b" },
    });
  });

  it("says by which name the model goes, whichever it was asked for", async () => {
    await using server = await turnServer([hello]);
    expect((await server.post({ ...ask, model: "alias" })).json.model).toBe("gpt-oss-20b");
  });

  it("leaves out a reasoning that says nothing", async () => {
    await using server = await turnServer([turn([reasoning(""), call("now", "{}")])]);
    const body = { ...ask, tools: [{ type: "function", name: "now" }] };
    const { json } = await server.post(body);
    expect(json.output).toMatchObject([{ type: "function_call", arguments: "{}", status: "completed" }]);

    const events = streamEvents((await server.post({ ...body, stream: true })).text);
    expect(replayed(events).output).toMatchObject([{ arguments: "{}" }]);
  });

  it("tells log probabilities of visible text only when asked for", async () => {
    const script = turn([reasoning("Think."), final("Hello!")], { logprobs: true });
    await using server = await turnServer([script]);
    const body = { ...ask, include: ["message.output_text.logprobs"], top_logprobs: 1 };
    const token = (text: string) => ({ token: text, bytes: [...Buffer.from(text)], logprob: -1 });
    const logprobs = ["Hel", "lo!"].map((text) => ({ ...token(text), top_logprobs: [token("!")] }));
    expect((await server.post(body)).json.output[1]).toMatchObject({ content: [{ logprobs }] });
    expect(server.player.last.topLogprobs).toBe(1);
    const events = streamEvents((await server.post({ ...body, stream: true })).text);
    expect(replayed(events).output[1]).toMatchObject({ content: [{ logprobs }] });
  });
});

describe("a request", () => {
  it("becomes a turn with the documented defaults", async () => {
    const { signal, ticket, tenant, ...request } = await asked({});
    expect(tenant).toBeInstanceOf(Tenant);
    expect(signal).toBeInstanceOf(AbortSignal);
    expect(ticket).toBeInstanceOf(Ticket);
    expect(request).toEqual({
      onStray: expect.any(Function),
      messages: [{ role: "user", content: "Hi" }],
      instructions: null,
      fieldNames: { maxTokens: "max_output_tokens" },
      conversationAt: "input",
      tools: [],
      toolChoice: { type: "none" },
      format: null,
      effort: "medium",
      date: "2026-11-22",
      sampling: { temperature: 1, topP: 1, presencePenalty: 0, frequencyPenalty: 0 },
      stop: [],
      topLogprobs: null,
      n: 1,
    });
  });

  it("passes on what it says about sampling and length", async () => {
    const sampling = { temperature: 0, top_p: 0.5, presence_penalty: 1, frequency_penalty: -0.5, seed: 7 };
    expect(await asked({ ...sampling, max_output_tokens: 9, instructions: "Be brief." })).toMatchObject({
      sampling: { temperature: 0, topP: 0.5, presencePenalty: 1, frequencyPenalty: -0.5, seed: 7n },
      maxTokens: 9,
      instructions: "Be brief.",
    });
  });

  it.each([
    ["text", { type: "text" }, null],
    ["json_object", { type: "json_object" }, { type: "json_object", at: "text.format" }],
    [
      "json_schema",
      { type: "json_schema", name: "answer", schema: { type: "object" }, strict: true, description: "D" },
      {
        type: "json_schema",
        name: "answer",
        schema: { type: "object" },
        description: "D",
        strict: true,
        at: "text.format.schema",
      },
    ],
  ])("format %s", async (_, format, expected) => {
    expect((await asked({ text: { format, verbosity: "low" } })).format).toEqual(expected);
  });

  it.each([
    ["none", { type: "none" }],
    ["auto", { type: "auto" }],
    ["required", { type: "required" }],
    [
      { type: "function", name: "get_weather" },
      { type: "required", names: ["get_weather"] },
    ],
    [
      { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "get_weather" }] },
      { type: "auto", names: ["get_weather"] },
    ],
    [
      { type: "allowed_tools", mode: "required", tools: [{ type: "function", name: "get_weather" }] },
      { type: "required", names: ["get_weather"] },
    ],
  ])("tool_choice %j", async (tool_choice, expected) => {
    const request = await asked({ tools: [weather], tool_choice });
    expect(request.toolChoice).toEqual(expected);
    const { type: _, ...declared } = weather;
    expect(request.tools).toEqual([{ ...declared, at: "tools[0].parameters" }]);
  });

  it("takes null for every field that may be absent, and fields that it does not know", async () => {
    const names =
      "instructions max_output_tokens max_tool_calls temperature top_p top_logprobs tools tool_choice parallel_tool_calls " +
      "reasoning text stream stream_options store previous_response_id background conversation prompt include metadata " +
      "truncation user service_tier prompt_cache_key safety_identifier presence_penalty frequency_penalty seed";
    const nulls = Object.fromEntries(names.split(" ").map((name) => [name, null]));
    const request = await asked({ ...nulls, client_metadata: { a: 1 }, generate: true });
    expect(request).toMatchObject({ effort: "medium", sampling: { temperature: 1 } });
  });

  it.each([
    [{ model: "gpt-4" }, 404, "model", "model_not_found"],
    [{ model: undefined }, 400, "model", "invalid_value"],
    [{ background: true, store: false }, 400, "background", "invalid_value"],
    [{ conversation: "conv_1" }, 404, "conversation", "conversation_not_found"],
    [{ prompt: { id: "pmpt_1" } }, 400, "prompt", "unsupported_parameter"],
    [{ temperature: 3 }, 400, "temperature", "invalid_value"],
    [{ temperature: "hot" }, 400, "temperature", "invalid_value"],
    [{ top_p: -0.1 }, 400, "top_p", "invalid_value"],
    [{ presence_penalty: 2.1 }, 400, "presence_penalty", "invalid_value"],
    [{ frequency_penalty: "1" }, 400, "frequency_penalty", "invalid_value"],
    [{ prompt_cache_key: 7 }, 400, "prompt_cache_key", "invalid_value"],
    [{ safety_identifier: {} }, 400, "safety_identifier", "invalid_value"],
    [{ top_logprobs: 21 }, 400, "top_logprobs", "invalid_value"],
    [{ max_output_tokens: 0 }, 400, "max_output_tokens", "invalid_value"],
    [{ reasoning: { effort: "extreme" } }, 400, "reasoning.effort", "invalid_value"],
    [{ truncation: "some" }, 400, "truncation", "invalid_value"],
    [{ metadata: { a: 1 } }, 400, "metadata.a", "invalid_value"],
    [{ input: undefined }, 400, "input", "missing_required_parameter"],
    [{ input: [] }, 400, "input", "missing_required_parameter"],
    [{ input: 5 }, 400, "input", "invalid_value"],
    [{ input: [null] }, 400, "input[0]", "invalid_value"],
    [{ input: [{ role: "tool", content: "x" }] }, 400, "input[0].role", "invalid_value"],
    [{ input: [{ role: "user" }] }, 400, "input[0].content", "missing_required_parameter"],
    [
      { input: [{ role: "user", content: [{ type: "input_image" }] }] },
      400,
      "input[0].content[0].type",
      "unsupported_parameter",
    ],
    [
      { input: [{ role: "user", content: [{ type: "input_file" }] }] },
      400,
      "input[0].content[0].type",
      "unsupported_parameter",
    ],
    [{ input: [{ type: "no_such_item", id: "x_1" }] }, 400, "input[0].type", "invalid_value"],
    [{ input: [{ type: "web_search_call", id: 7 }] }, 400, "input[0].id", "invalid_value"],
    [{ input: [{ type: "web_search_call", id: "ws_1" }] }, 400, "input", "missing_required_parameter"],
    [
      { input: [{ type: "function_call", call_id: "c", name: "f" }] },
      400,
      "input[0].arguments",
      "missing_required_parameter",
    ],
    [
      { input: [{ type: "function_call_output", call_id: "c", output: "x" }] },
      400,
      "input[0].call_id",
      "invalid_value",
    ],
    [{ input: [{ type: "item_reference", id: "msg_1" }] }, 404, "input[0].id", "item_not_found"],
    [{ previous_response_id: "resp_1" }, 404, "previous_response_id", "response_not_found"],
    [{ tools: [{ name: "f" }] }, 400, "tools[0].type", "missing_required_parameter"],
    [{ tools: [{ type: "function", function: { name: "f" } }] }, 400, "tools[0].name", "missing_required_parameter"],
    [{ tools: [{ type: "function", name: "a b" }] }, 400, "tools[0].name", "invalid_value"],
    [{ tools: [weather, weather] }, 400, "tools[1].name", "invalid_value"],
    [{ tools: [{ ...weather, parameters: 1 }] }, 400, "tools[0].parameters", "invalid_value"],
    [{ tool_choice: "required" }, 400, "tool_choice", "invalid_value"],
    [{ tool_choice: "always" }, 400, "tool_choice", "invalid_value"],
    [{ tool_choice: { type: "function", name: "f" } }, 400, "tool_choice.name", "invalid_value"],
    [
      { tools: [{ type: "web_search" }], tool_choice: { type: "web_search" } },
      400,
      "tool_choice.type",
      "unsupported_parameter",
    ],
    [{ text: { format: { type: "xml" } } }, 400, "text.format.type", "invalid_value"],
    [{ text: { format: { type: "json_schema", name: "a" } } }, 400, "text.format.schema", "missing_required_parameter"],
  ])("%j is refused", async (body, status, param, code) => {
    expect(await refusal(body)).toEqual({ status, param, code });
  });
});

describe("input items", () => {
  async function messages(input: unknown): Promise<readonly unknown[]> {
    return (await asked({ input })).messages;
  }

  it("are messages of every role, with or without a type, as a string or in parts", async () => {
    const input = [
      { role: "system", content: "S" },
      { type: "message", role: "developer", content: [{ type: "input_text", text: "D" }] },
      {
        role: "user",
        content: [
          { type: "input_text", text: "a" },
          { type: "text", text: "b" },
        ],
      },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        content: [{ type: "output_text", text: "c", annotations: [] }],
      },
      { role: "user", content: "d" },
      { role: "assistant", content: [{ type: "refusal", refusal: "no" }] },
      { role: "user", content: "" },
    ];
    expect(await messages(input)).toEqual([
      { role: "system", content: "S" },
      { role: "developer", content: "D" },
      { role: "user", content: "ab" },
      { role: "assistant", content: "c" },
      { role: "user", content: "d" },
      { role: "assistant", content: "no" },
      { role: "user", content: "" },
    ]);
  });

  it("are reasonings, calls and their outputs, a message before a call being its preamble", async () => {
    const input = [
      { role: "user", content: "Hi" },
      { type: "reasoning", id: "rs_1", summary: [], content: [{ type: "reasoning_text", text: "T" }] },
      { role: "assistant", content: "Wait." },
      { type: "function_call", call_id: "c1", name: "f", arguments: "{}" },
      { type: "function_call_output", call_id: "c1", output: [{ type: "input_text", text: "o" }] },
      { type: "custom_tool_call", call_id: "c2", name: "patch", input: "***" },
      { type: "custom_tool_call_output", call_id: "c2", output: "done" },
      { type: "reasoning", summary: [{ type: "summary_text", text: "Short." }], encrypted_content: null },
      { type: "reasoning", summary: [], encrypted_content: "gAAA" },
    ];
    expect(await messages(input)).toEqual([
      { role: "user", content: "Hi" },
      { role: "assistant", reasoning: "T" },
      { role: "assistant", channel: "commentary", content: "Wait." },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c1", type: "function", function: { name: "f", arguments: "{}" } }],
      },
      { role: "tool", tool_call_id: "c1", content: "o" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c2", type: "function", function: { name: "patch", arguments: '{"input":"***"}' } }],
      },
      { role: "tool", tool_call_id: "c2", content: "done" },
      { role: "assistant", reasoning: "Short." },
    ]);
  });

  it("are commentary or answer as their phase says", async () => {
    const input = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "a", phase: "final_answer" },
      { role: "assistant", content: "b", phase: "commentary" },
    ];
    expect((await messages(input)).slice(1)).toEqual([
      { role: "assistant", content: "a" },
      { role: "assistant", channel: "commentary", content: "b" },
    ]);
  });

  it("are references to items of stored responses", async () => {
    await using server = await turnServer([hello]);
    const { json } = await server.post(ask);
    const [thoughtItem, message] = json.output;
    const input = [
      { role: "user", content: "Hi" },
      { type: "item_reference", id: thoughtItem!.id },
      { id: message!.id },
      { role: "user", content: "And?" },
    ];
    expect((await server.post({ ...ask, input })).status).toBe(200);
    expect(server.player.last.messages).toEqual([
      { role: "user", content: "Hi" },
      { role: "assistant", reasoning: "They greet." },
      { role: "assistant", content: "Hello!" },
      { role: "user", content: "And?" },
    ]);
  });
});

describe("references", () => {
  it("find no item under a name that another client gave it", async () => {
    await using server = await turnServer([hello]);
    await server.post({ ...ask, input: [{ role: "user", content: "secret", id: "msg_1" }] });
    const stored = (await server.post({ ...ask, input: [{ role: "user", content: "mine" }] })).json;
    const [item] = (await server.get(`${stored.id}/input_items`)).json.data;
    const refer = async (id: string) => (await server.post({ ...ask, input: [{ type: "item_reference", id }] })).status;
    expect([await refer("msg_1"), await refer(item!.id)]).toEqual([404, 200]);
  });
});

describe("truncation", () => {
  const tooLong = (param: string) => new ApiError(400, "too long", { code: "context_length_exceeded", param });
  const long: ScriptedTurn = ({ messages }) => {
    if (messages.length > 2) throw tooLong("input");
    return Readable.from(hello);
  };
  const input = ["a", "b", "c"].map((content) => ({ role: "user", content }));

  it("auto leaves the oldest turns out, but not the instructions", async () => {
    const request = await asked({ truncation: "auto", input: [{ role: "developer", content: "D" }, ...input] }, [long]);
    expect(request.messages).toEqual([{ role: "developer", content: "D" }, input[2]]);
  });

  it("auto does not try every length", async () => {
    const many = Array.from({ length: 1000 }, (_, index) => ({ role: "user", content: `${index}` }));
    await using server = await turnServer([long]);
    expect((await server.post({ ...ask, truncation: "auto", input: many })).status).toBe(200);
    expect(server.player.requests.length).toBeLessThan(12);
    expect(server.player.last.messages).toEqual(many.slice(-1));
  });

  it("disabled refuses, as does auto when one turn is too long", async () => {
    await using server = await turnServer([long]);
    const refused = { status: 400, json: { error: { code: "context_length_exceeded", param: "input" } } };
    expect(await server.post({ ...ask, input })).toMatchObject(refused);
    const one = [...input.slice(2), { role: "assistant", content: "d" }, { role: "assistant", content: "e" }];
    expect(await server.post({ ...ask, input: one, truncation: "auto" })).toMatchObject(refused);
  });

  it("is of no help to an answer that is asked for too long", async () => {
    const refused = () => {
      throw tooLong("max_output_tokens");
    };
    await using server = await turnServer([refused]);
    expect(await server.post({ ...ask, max_output_tokens: 99_999, truncation: "auto" })).toMatchObject({
      status: 400,
      json: { error: { code: "context_length_exceeded", param: "max_output_tokens" } },
    });
  });
});
