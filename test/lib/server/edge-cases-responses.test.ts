import { describe, expect, it } from "vitest";
import { renderChat } from "../../../lib/chat/chat.js";
import type { TurnRequest } from "../../../lib/server/turn/turn.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { patchGrammar } from "../../support/patch-grammar.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, preamble, reasoning, turn } from "../../support/scripted-turns.js";
import { draws } from "../../support/thorough.js";
import { turnServer } from "../../support/turn-server.js";

/** Faults of other servers of this model, with the numbers of our list of such cases. */

const ask = { model: "gpt-oss-20b", input: "Hi" };
const tools = [{ type: "function", name: "f", parameters: { type: "object", properties: {} }, strict: false }];
const hello = turn([reasoning("They greet."), final("Hello!")]);
const calling = turn([reasoning("Need f."), preamble("Looking."), call("f", '{"a":1}')]);

/** The prompt of a turn after its system message. */
function prompt({ messages, date, effort }: TurnRequest): string {
  const { tokens } = renderChat(messages, { currentDate: date, reasoningEffort: effort });
  const text = tokenizer.decode(tokens);
  return text.slice(text.indexOf("<|end|>") + "<|end|>".length);
}

describe("row 7: reasoning in a tool loop", () => {
  const loop =
    "<|start|>user<|message|>Hi<|end|>" +
    "<|start|>assistant<|channel|>analysis<|message|>Need f.<|end|>" +
    "<|start|>assistant<|channel|>commentary<|message|>Looking.<|end|>" +
    '<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{"a":1}<|call|>' +
    "<|start|>functions.f to=assistant<|channel|>commentary<|message|>o<|end|><|start|>assistant";
  const output = { type: "function_call_output", call_id: "call_1", output: "o" };

  it("stays when the history is stored", async () => {
    await using server = await turnServer([calling]);
    const { id } = (await server.post({ ...ask, tools })).json;
    await server.post({ ...ask, tools, previous_response_id: id, input: [output] });
    expect(prompt(server.player.last)).toBe(loop);
  });

  it("stays when the client sends the history", async () => {
    await using server = await turnServer([calling]);
    const { json } = await server.post({ ...ask, tools, store: false });
    const input = [{ role: "user", content: "Hi" }, ...json.output, output];
    await server.post({ ...ask, tools, input });
    expect(prompt(server.player.last)).toBe(loop);
  });
});

describe("row 8: old reasoning", () => {
  it("is gone before the last answer, after several answers too", async () => {
    await using server = await turnServer([
      turn([reasoning("R1"), final("A1")]),
      turn([reasoning("R2"), final("A2")]),
      turn([reasoning("R3"), call("f", "{}")]),
    ]);
    let id: string | null = null;
    for (const content of ["Q1", "Q2", "Q3"]) {
      const input = [{ role: "user", content }];
      id = (await server.post({ ...ask, tools, input, previous_response_id: id })).json.id;
    }
    expect(prompt(server.player.last)).not.toContain("analysis<|message|>");
    const input = [{ type: "function_call_output", call_id: "call_1", output: "o" }];
    await server.post({ ...ask, tools, input, previous_response_id: id });
    expect(prompt(server.player.last).match(/analysis<\|message\|>\w+/g)).toEqual(["analysis<|message|>R3"]);
  });
});

describe("row 17: max_output_tokens", () => {
  const parts = [reasoning("Think."), preamble("Wait."), call("f", '{"a":1}')];
  const length = parts.reduce((sum, { text }) => sum + text.length, 0);

  it.each(Array.from({ length }, (_, index) => index + 1))("cut after %i characters", async (cutAt) => {
    await using server = await turnServer([turn(parts, { cutAt })]);
    const response = replayed(streamEvents((await server.post({ ...ask, tools, stream: true })).text));
    expect(response).toMatchObject({
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      completed_at: null,
      error: null,
      usage: { input_tokens: 20, output_tokens: 12 },
    });
    const { output } = (await server.post({ ...ask, tools })).json;
    expect(output.map((item: object) => ({ ...item, id: "" }))).toEqual(
      response.output.map((item) => ({ ...item, id: "" })),
    );
    const [last, ...before] = response.output.toReversed();
    expect(last!.status).toBe("incomplete");
    expect(before.every(({ status }) => status === "completed")).toBe(true);
  });

  it("cut before anything was said is an empty output", async () => {
    await using server = await turnServer([turn(parts, { cutAt: 0 })]);
    expect((await server.post({ ...ask, tools })).json).toMatchObject({ status: "incomplete", output: [] });
  });
});

describe("row 18: a call that is cut off", () => {
  it.each([true, false])("is an incomplete item with the arguments so far (stream: %s)", async (stream) => {
    await using server = await turnServer([turn([reasoning("R"), call("f", '{"a":1}')], { cutAt: 4 })]);
    const { text, json } = await server.post({ ...ask, tools, stream });
    const response = stream ? replayed(streamEvents(text)) : json;
    expect(response.status).toBe("incomplete");
    expect(response.output[1]).toMatchObject({ type: "function_call", arguments: '{"a', status: "incomplete" });
  });
});

describe("row 21: usage", () => {
  it.each([true, false])("counts what the turn counted (stream: %s)", async (stream) => {
    const prompt = { promptTokens: 101, cachedTokens: 64, cacheWriteTokens: 37 };
    const usage = { ...prompt, completionTokens: 31, reasoningTokens: 17 };
    await using server = await turnServer([turn([reasoning("R"), final("A")], { usage })]);
    const { text, json } = await server.post({ ...ask, stream });
    expect((stream ? replayed(streamEvents(text)) : json).usage).toEqual({
      input_tokens: 101,
      input_tokens_details: { cached_tokens: 64, cache_write_tokens: 37 },
      output_tokens: 31,
      output_tokens_details: { reasoning_tokens: 17 },
      total_tokens: 132,
    });
  });
});

describe("row 22: the date", () => {
  it("of a stored conversation is that of its first turn, over midnight", async () => {
    await using server = await turnServer([hello]);
    server.clock.now = new Date("2026-11-22T23:59:59Z");
    let { id } = (await server.post(ask)).json;
    server.clock.now = new Date("2026-11-23T00:00:01Z");
    for (let more = 0; more < 2; more++) id = (await server.post({ ...ask, previous_response_id: id })).json.id;
    expect(server.player.requests.map(({ date }) => date)).toEqual(["2026-11-22", "2026-11-22", "2026-11-22"]);
    await server.post(ask);
    expect(server.player.last.date).toBe("2026-11-23");
  });
});

describe("row 29: a preamble", () => {
  it("is a message before the call, and commentary when it comes back", async () => {
    await using server = await turnServer([calling]);
    const { json } = await server.post({ ...ask, tools });
    expect(json.output.map(({ type }: { type: string }) => type)).toEqual(["reasoning", "message", "function_call"]);
    const output = { type: "function_call_output", call_id: "call_1", output: "o" };
    await server.post({ ...ask, tools, input: [output], previous_response_id: json.id });
    expect(prompt(server.player.last)).toContain("<|channel|>commentary<|message|>Looking.<|end|>");
  });

  it("and the answer after it are two messages, which a client may send back as they are", async () => {
    await using server = await turnServer([turn([preamble("First."), reasoning("R"), final("Then.")])]);
    const { output } = (await server.post(ask)).json;
    const input = [{ role: "user", content: "Hi" }, ...output, { role: "user", content: "And?" }];
    await server.post({ ...ask, input });
    expect(prompt(server.player.last)).toBe(
      "<|start|>user<|message|>Hi<|end|>" +
        "<|start|>assistant<|channel|>commentary<|message|>First.<|end|>" +
        "<|start|>assistant<|channel|>final<|message|>Then.<|end|>" +
        "<|start|>user<|message|>And?<|end|><|start|>assistant",
    );
  });
});

describe("row 33: events", () => {
  const kinds = [reasoning("Think 🌍."), preamble("Wait."), call("f", '{"a":"é"}'), final("Done."), reasoning("")];

  it.each([1, 2, 3, 100])("replay into the final object, deltas of %i characters", async (deltaLength) => {
    const scripts = kinds.flatMap((first) => kinds.map((second) => turn([first, second], { deltaLength })));
    await using server = await turnServer(scripts);
    for (const _ of scripts) {
      const { text } = await server.post({ ...ask, tools, stream: true });
      const response = replayed(streamEvents(text));
      expect((await server.get(response.id)).json).toEqual(response);
    }
  });
});

describe("row 34: the store", () => {
  const responses = draws(3000, 10_000);
  it(`holds ${responses} responses within its bounds`, async () => {
    const limits = { responses: 1000, bytes: 2 ** 20 };
    await using server = await turnServer([hello], { store: limits });
    const ids: string[] = [];
    for (let request = 0; request < responses; request++) ids.push((await server.post(ask)).json.id);
    const statuses: number[] = [];
    for (const id of ids) statuses.push((await server.get(id)).status);
    const kept = statuses.filter((status) => status === 200).length;
    expect(kept).toBeGreaterThan(100);
    expect(kept).toBeLessThanOrEqual(limits.responses);
    expect(statuses.lastIndexOf(404)).toBe(statuses.length - kept - 1); // the newest ones are stored
  });

  it("carries a conversation on over five responses, also when one of them is deleted", async () => {
    await using server = await turnServer([1, 2, 3, 4, 5].map((n) => turn([reasoning(`R${n}`), final(`A${n}`)])));
    const ids: string[] = [];
    for (let n = 1; n <= 5; n++) {
      const input = [{ role: "user", content: `Q${n}` }];
      const { json } = await server.post({ ...ask, input, previous_response_id: ids.at(-1) ?? null });
      expect(json.previous_response_id).toBe(ids.at(-1) ?? null);
      ids.push(json.id);
    }
    const expected = [1, 2, 3, 4].flatMap((n) => [
      { role: "user", content: `Q${n}` },
      { role: "assistant", reasoning: `R${n}` },
      { role: "assistant", content: `A${n}` },
    ]);
    expect(server.player.last.messages).toEqual([...expected, { role: "user", content: "Q5" }]);

    await server.delete(ids[2]!);
    expect((await server.get(ids[2]!)).status).toBe(404);
    expect((await server.post({ ...ask, previous_response_id: ids[2] })).json.error.code).toBe("response_not_found");
    await server.post({ ...ask, previous_response_id: ids[4] });
    expect(server.player.last.messages).toHaveLength(16);
  });

  it("branches where a response is continued twice", async () => {
    await using server = await turnServer([hello]);
    const { id } = (await server.post(ask)).json;
    for (const input of ["Left", "Right"]) {
      await server.post({ ...ask, input, previous_response_id: id });
      expect(server.player.last.messages.slice(3)).toEqual([{ role: "user", content: input }]);
    }
  });
});

describe("row 35: codex", () => {
  const body = {
    model: "gpt-oss-20b",
    instructions: "You are a coding agent.",
    input: [
      { type: "message", role: "developer", content: [{ type: "input_text", text: "<permissions>…</permissions>" }] },
      { type: "message", role: "user", content: [{ type: "input_text", text: "List files" }] },
      {
        type: "reasoning",
        summary: [],
        content: [{ type: "reasoning_text", text: "Use f." }],
        encrypted_content: null,
      },
      { type: "function_call", name: "shell", arguments: '{"command":["ls"]}', call_id: "call_9" },
      { type: "function_call_output", call_id: "call_9", output: "a.txt" },
      { type: "reasoning", summary: [], content: null, encrypted_content: null },
    ],
    tools: [
      { type: "function", name: "shell", description: "Runs", strict: false, parameters: { type: "object" } },
      {
        type: "custom",
        name: "apply_patch",
        description: "x",
        format: { type: "grammar", syntax: "lark", definition: patchGrammar },
      },
      { type: "web_search", external_web_access: true },
      { type: "image_generation", output_format: "png" },
      { type: "namespace", name: "mcp__x", tools: [] },
      { type: "local_shell" },
    ],
    tool_choice: "auto",
    parallel_tool_calls: false,
    reasoning: { effort: "medium", summary: "auto", context: "all_turns" },
    store: false,
    stream: true,
    include: ["reasoning.encrypted_content"],
    prompt_cache_key: "0199",
    text: { verbosity: "medium" },
    client_metadata: { "x-codex-installation-id": "i" },
  };

  it("is answered, its unknown tools left out with one warning", async () => {
    await using server = await turnServer([hello]);
    for (let request = 0; request < 2; request++) {
      const { status, text } = await server.post(body);
      expect(status, text).toBe(200);
      expect(replayed(streamEvents(text))).toMatchObject({
        status: "completed",
        tools: [{ name: "shell" }, { name: "apply_patch" }], // the namespace is empty
      });
    }
    expect(server.player.last.tools.map(({ name }) => name)).toEqual(["shell", "apply_patch"]);
    expect(server.player.last.messages).toHaveLength(5);
    const warned = server.warnings.map((line) => Object.values((line as [object])[0]).join(" "));
    const types = ["web_search", "image_generation", "local_shell"];
    expect(warned).toEqual([
      "/v1/responses reasoning.context",
      ...types.map(
        (type, index) => `tools[${[2, 3, 5][index]}] tools of type "${type}" have no backend here and are ignored`,
      ),
    ]);
  });

  it("may go on with nothing to add", async () => {
    await using server = await turnServer([hello]);
    const { id } = (await server.post(ask)).json;
    for (const input of [[], "", undefined, null]) {
      expect((await server.post({ ...ask, input, previous_response_id: id })).status).toBe(200);
      expect(server.player.last.messages).toHaveLength(3);
    }
  });
});

describe("row 36: the agents SDK", () => {
  it("sets fields for reasoning and gets its items", async () => {
    await using server = await turnServer([hello]);
    const { json } = await server.post({
      ...ask,
      include: ["reasoning.encrypted_content", "web_search_call.action.sources"],
      reasoning: { effort: "low", summary: "detailed" },
      text: { verbosity: "low" },
    });
    expect(json.reasoning).toEqual({ effort: "low", summary: "detailed" });
    expect(json.output[0]).toMatchObject({
      type: "reasoning",
      content: [{ type: "reasoning_text", text: "They greet." }],
      summary: [{ type: "summary_text", text: "They greet." }],
      encrypted_content: expect.any(String),
    });
  });
});

describe("include", () => {
  it("may name all that OpenAI's document has, also what belongs to tools that are not here", async () => {
    await using server = await turnServer([hello]);
    const include = [
      "reasoning.encrypted_content",
      "message.output_text.logprobs",
      "message.input_image.image_url",
      "computer_call_output.output.image_url",
      "code_interpreter_call.outputs",
      "file_search_call.results",
      "web_search_call.results",
      "web_search_call.action.sources",
    ];
    expect((await server.post({ ...ask, include })).status).toBe(200);
    expect(server.warnings).toEqual([]);
  });
});

describe("a limit of reasoning", () => {
  it.each([
    [{ max_tokens: 7 }, 7],
    [{ max_tokens: 0, effort: "high" }, 0],
    [{ max_tokens: 7, effort: "none" }, 0], // the smaller one
    [{ max_tokens: null }, undefined],
    [{}, undefined],
  ])("%j of responses means the same as in chats", async (reasoning, expected) => {
    await using server = await turnServer([hello]);
    expect((await server.post({ ...ask, reasoning })).status).toBe(200);
    expect(server.player.last.analysisTokens).toBe(expected);
    const messages = [{ role: "user", content: "Hi" }];
    const payload = { model: "gpt-oss-20b", messages, reasoning };
    const { statusCode } = await server.app.inject({ method: "POST", url: "/v1/chat/completions", payload });
    expect([statusCode, server.player.last.analysisTokens]).toEqual([200, expected]);
  });
});

describe("row 37: reasoning effort", () => {
  it.each([
    ["none", { effort: "low", analysisTokens: 0 }],
    ["minimal", { effort: "low" }],
    ["low", { effort: "low" }],
    ["medium", { effort: "medium" }],
    [null, { effort: "medium" }],
    ["high", { effort: "high" }],
    ["xhigh", { effort: "high" }],
    ["max", { effort: "high" }],
  ])("%s", async (effort, expected) => {
    await using server = await turnServer([hello]);
    const { json } = await server.post({ ...ask, reasoning: { effort } });
    const { effort: asked, analysisTokens } = server.player.last;
    expect({ effort: asked, ...(analysisTokens !== undefined && { analysisTokens }) }).toEqual(expected);
    expect(json.reasoning.effort).toBe(effort ?? "medium");
  });
});
