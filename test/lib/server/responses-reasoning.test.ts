import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { createServer, type ServerOptions } from "../../../lib/server/index.js";
import type { ReasoningItem } from "../../../lib/server/responses/objects.js";
import { reply, ScriptedEngine, think } from "../../../lib/testing/index.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, preamble, reasoning, turn } from "../../support/scripted-turns.js";
import { bearer, failure, post } from "../../support/server-operations.js";
import { turnServer } from "../../support/turn-server.js";

const ask = { model: "gpt-oss-20b", input: "Hi" };
const sealing = { ...ask, include: ["reasoning.encrypted_content"] };
const hello = turn([reasoning("They greet."), final("Hello!")]);
const user = { role: "user", content: "Hi" };
const reasoningOf = ({ output }: { output: object[] }) => output[0] as ReasoningItem;

describe("encrypted_content", () => {
  it("comes only where it is asked for, and not before the item is complete", async () => {
    await using server = await turnServer([hello]);
    expect(reasoningOf((await server.post(ask)).json)).not.toHaveProperty("encrypted_content");
    const { encrypted_content, ...rest } = reasoningOf((await server.post(sealing)).json);
    expect(encrypted_content).toMatch(/^[\w-]{59,}$/);
    expect(rest).toMatchObject({ summary: [], content: [{ type: "reasoning_text", text: "They greet." }] });

    const events = streamEvents((await server.post({ ...sealing, stream: true })).text);
    const items = events.flatMap(({ item }) => (item === undefined ? [] : [item as ReasoningItem]));
    expect(items.filter(({ type }) => type === "reasoning").map((item) => "encrypted_content" in item)).toEqual([
      false,
      true,
    ]);
    const response = replayed(events);
    expect((await server.get(response.id)).json).toEqual(response);
  });

  it("is read back exactly, without the text beside it", async () => {
    const text = "Thought é 🌍\n\n  twice. ";
    await using server = await turnServer([turn([reasoning(text), call("f", "{}")])]);
    const tools = [{ type: "function", name: "f" }];
    const { json } = await server.post({ ...sealing, tools, store: false });
    const [thought, made] = json.output as [ReasoningItem, object];
    const { encrypted_content } = thought;
    const output = { type: "function_call_output", call_id: "call_1", output: "o" };
    const forms = [thought, { type: "reasoning", summary: [], encrypted_content }, { ...thought, content: null }];
    for (const form of forms) {
      const { status, headers } = await server.post({ ...ask, tools, input: [user, form, made, output] });
      expect([status, headers["x-gpt-oss-warnings"]]).toEqual([200, undefined]);
      expect(server.player.last.messages[1]).toEqual({ role: "assistant", reasoning: text });
    }
  });

  it("counts more than a text that a client put beside it", async () => {
    await using server = await turnServer([hello]);
    const item = reasoningOf((await server.post(sealing)).json);
    const changed = { ...item, content: [{ type: "reasoning_text", text: "They shout." }] };
    await server.post({ ...ask, input: [user, changed] });
    expect(server.player.last.messages[1]).toEqual({ role: "assistant", reasoning: "They greet." });
  });

  it("of a cut reasoning is what was written", async () => {
    await using server = await turnServer([turn([reasoning("They greet.")], { cutAt: 4 }), hello]);
    const item = reasoningOf((await server.post(sealing)).json);
    expect(item.status).toBe("incomplete");
    await server.post({ ...ask, input: [user, { ...item, content: [] }] });
    expect(server.player.last.messages[1]).toEqual({ role: "assistant", reasoning: "They" });
  });

  const forged: [name: string, text: (sealed: string) => string][] = [
    [
      "of OpenAI",
      () => "gAAAAABoISQ24OyVRYbkYfukdJoqdzWT-3uiErKInHDC-lgAaXeky44N77j7aibc2elHISjAvX7OmUwMU1r7NgaiHSVWL6BtWgXVBk4D",
    ],
    ["cut", (sealed) => sealed.slice(0, -4)],
    ["changed", (sealed) => (sealed.endsWith("A") ? `${sealed.slice(0, -1)}Q` : `${sealed.slice(0, -1)}A`)],
    ["with more behind it", (sealed) => `${sealed}AAAA`],
    ["that is no base64", () => "é\u0000"],
    ["with a lone surrogate", () => "\ud800"],
  ];
  const warning = {
    param: "input[1].encrypted_content",
    message: "reasoning was sealed elsewhere and cannot be read; its content or summary is read, if it has one",
  };

  it.each(forged)("%s is left out with one warning; content or summary is read", async (_, change) => {
    await using server = await turnServer([hello]);
    const sealed = change(reasoningOf((await server.post(sealing)).json).encrypted_content!);
    const item = { type: "reasoning", id: "rs_1", summary: [], encrypted_content: sealed };
    const summarised = { ...item, summary: [{ type: "summary_text", text: "Short." }] };
    const { status, headers } = await server.post({ ...ask, input: [user, item, summarised, user] });
    expect(status).toBe(200);
    expect(JSON.parse(headers["x-gpt-oss-warnings"] as string)).toEqual([warning]);
    expect(server.player.last.messages).toEqual([user, { role: "assistant", reasoning: "Short." }, user]);
  });

  it.each([7, {}, [], true])("that is no text is refused: %j", async (encrypted_content) => {
    await using server = await turnServer([hello]);
    const answer = await server.post({ ...ask, input: [user, { type: "reasoning", summary: [], encrypted_content }] });
    expect(answer).toMatchObject({ status: 400, json: { error: { param: "input[1].encrypted_content" } } });
  });
});

describe("the key of sealed reasoning", () => {
  const secret = "0123456789abcdef".repeat(4);

  async function served(options: Partial<ServerOptions>) {
    const engine = new ScriptedEngine([[think("They greet."), reply("Hello!")]]);
    const app = await createServer({ engine, modelName: "gpt-oss-20b", apiKeys: ["alice", "bob"], ...options });
    return {
      sealed: async (key: string) => {
        const answer = await app.inject(post("/v1/responses", sealing, bearer(key)));
        return (answer.json() as { output: ReasoningItem[] }).output[0]!.encrypted_content!;
      },
      /** Whether the model sees the reasoning again in the prompt of a tool loop. */
      reads: async (key: string, encrypted_content: string) => {
        const input = [
          user,
          { type: "reasoning", summary: [], encrypted_content },
          { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
        ];
        const answer = await app.inject(post("/v1/responses", { ...ask, input, include: [] }, bearer(key)));
        expect(answer.statusCode).toBe(200);
        const prompt = engine.tokenizer.decode(Uint32Array.from(engine.requests.at(-1)!.promptTokens));
        return prompt.includes("They greet.");
      },
      [Symbol.asyncDispose]: async () => {
        await app.close();
        await engine.close();
      },
    };
  }

  it("lets every server that has it read, and nobody else", async () => {
    await using one = await served({ reasoningKey: secret });
    await using replica = await served({ reasoningKey: secret });
    await using other = await served({ reasoningKey: secret.replace("0", "1") });
    await using random = await served({});
    const sealed = await one.sealed("alice");
    const readers = [one, replica, other, random];
    const read = await Promise.all(readers.map((server) => server.reads("alice", sealed)));
    expect(read).toEqual([true, true, false, false]);
    expect(await random.reads("alice", await random.sealed("alice"))).toBe(true);
  });

  it("can be replaced while clients still carry what the old one sealed", async () => {
    const newer = secret.replace("0", "1");
    await using before = await served({ reasoningKey: secret });
    await using during = await served({ reasoningKey: [newer, secret] });
    await using after = await served({ reasoningKey: [newer] });
    const [old, young] = [await before.sealed("alice"), await during.sealed("alice")];
    expect([await during.reads("alice", old), await during.reads("alice", young)]).toEqual([true, true]);
    expect([await after.reads("alice", old), await after.reads("alice", young)]).toEqual([false, true]);
    expect(await before.reads("alice", young)).toBe(false);
  });

  it.each([[[]], [["x".repeat(31)]], [["x".repeat(32), 7]], [Array(9).fill("x".repeat(32))]])(
    "is refused as a list with anything else: case %#",
    async (keys) => {
      const error = await failure(() => served({ reasoningKey: keys as string[] }));
      expect(error).toMatchObject({
        code: "INVALID_ARGUMENT",
        field: "reasoningKey",
        message: "Expected a list of 1 to 8, each a secret of 32 to 4096 characters for reasoningKey",
      });
    },
  );

  it("lets a client read only with the API key that it was sealed for", async () => {
    await using server = await served({ reasoningKey: secret });
    const sealed = await server.sealed("alice");
    expect([await server.reads("alice", sealed), await server.reads("bob", sealed)]).toEqual([true, false]);
  });

  it.each(["", "x".repeat(31), "x".repeat(4097), 7, null, {}])(
    "must be a long text, and is not quoted: case %#",
    async (key) => {
      const error = await failure(() => served({ reasoningKey: key as string }));
      expect(error).toMatchObject({
        code: "INVALID_ARGUMENT",
        field: "reasoningKey",
        message: "Expected a secret of 32 to 4096 characters for reasoningKey",
      });
    },
  );
});

describe("a summary", () => {
  it.each(["auto", "concise", "detailed"])("is the reasoning in one part, streamed beside it: %s", async (summary) => {
    await using server = await turnServer([turn([reasoning("abcd"), final("e")], { deltaLength: 2 })]);
    const body = { ...ask, reasoning: { summary } };
    const events = streamEvents((await server.post({ ...body, stream: true })).text);
    const { id } = events[2]!.item as ReasoningItem;
    const place = { item_id: id, output_index: 0 };
    const text = (text: string) => ({ type: "summary_text", text });
    expect(events.slice(2, 12).map(({ sequence_number: _, ...event }) => event)).toEqual([
      {
        type: "response.output_item.added",
        output_index: 0,
        item: {
          type: "reasoning",
          id,
          summary: [],
          content: [{ type: "reasoning_text", text: "" }],
          status: "in_progress",
        },
      },
      { type: "response.reasoning_summary_part.added", ...place, summary_index: 0, part: text("") },
      { type: "response.reasoning_text.delta", ...place, content_index: 0, delta: "ab" },
      { type: "response.reasoning_summary_text.delta", ...place, summary_index: 0, delta: "ab" },
      { type: "response.reasoning_text.delta", ...place, content_index: 0, delta: "cd" },
      { type: "response.reasoning_summary_text.delta", ...place, summary_index: 0, delta: "cd" },
      { type: "response.reasoning_text.done", ...place, content_index: 0, text: "abcd" },
      { type: "response.reasoning_summary_text.done", ...place, summary_index: 0, text: "abcd" },
      { type: "response.reasoning_summary_part.done", ...place, summary_index: 0, part: text("abcd") },
      {
        type: "response.output_item.done",
        output_index: 0,
        item: {
          type: "reasoning",
          id,
          summary: [text("abcd")],
          content: [{ type: "reasoning_text", text: "abcd" }],
          status: "completed",
        },
      },
    ]);
    replayed(events);
    expect(reasoningOf((await server.post(body)).json).summary).toEqual([text("abcd")]);
  });

  it.each([{}, { summary: null }, { effort: "low" }])("is empty where none is asked for: %j", async (asked) => {
    await using server = await turnServer([hello]);
    const { text } = await server.post({ ...ask, reasoning: asked, stream: true });
    expect(text).not.toContain("summary_part");
    expect(reasoningOf(replayed(streamEvents(text))).summary).toEqual([]);
  });

  it("is asked for under its old name, too, and has no part for a reasoning that says nothing", async () => {
    await using server = await turnServer([turn([reasoning(""), reasoning("x"), final("y")])]);
    const { text } = await server.post({ ...ask, reasoning: { generate_summary: "auto" }, stream: true });
    expect(replayed(streamEvents(text)).output).toMatchObject([{ summary: [{ text: "x" }] }, { type: "message" }]);
  });

  it("of a cut reasoning ends with it", async () => {
    await using server = await turnServer([turn([reasoning("They greet.")], { cutAt: 4 })]);
    const { text } = await server.post({ ...ask, reasoning: { summary: "auto" }, stream: true });
    expect(replayed(streamEvents(text)).output).toMatchObject([{ status: "incomplete", summary: [{ text: "They" }] }]);
  });
});

describe("the phase of a message", () => {
  it("is told, and read back", async () => {
    await using server = await turnServer([turn([preamble("One moment."), final("Done.")])]);
    const { output } = (await server.post(ask)).json;
    expect(output).toMatchObject([{ phase: "commentary" }, { phase: "final_answer" }]);
    await server.post({ ...ask, input: [user, ...output, user] });
    expect(server.player.last.messages.slice(1, 3)).toEqual([
      { role: "assistant", channel: "commentary", content: "One moment." },
      { role: "assistant", content: "Done." },
    ]);
    const events = streamEvents((await server.post({ ...ask, stream: true })).text);
    expect(events.find(({ type }) => type === "response.output_item.added")!.item).toMatchObject({
      phase: "commentary",
    });
  });

  it.each(["final", "", 7, {}])("that is not known is refused: %j", async (phase) => {
    await using server = await turnServer([hello]);
    const answer = await server.post({ ...ask, input: [user, { role: "assistant", content: "a", phase }] });
    expect(answer).toMatchObject({ status: 400, json: { error: { param: "input[1].phase", code: "invalid_value" } } });
  });

  it("of a user's message means nothing", async () => {
    await using server = await turnServer([hello]);
    expect((await server.post({ ...ask, input: [{ ...user, phase: "x" }] })).status).toBe(200);
  });
});

describe("OpenAI's client", () => {
  it("builds the same item from the events, and sends it back", async () => {
    await using server = await turnServer([hello]);
    const client = new OpenAI({ baseURL: await server.baseUrl(), apiKey: "none", maxRetries: 0 });
    const stream = client.responses.stream({
      model: "gpt-oss-20b",
      input: "Hi",
      store: false,
      include: ["reasoning.encrypted_content"],
      reasoning: { summary: "auto" },
    });
    const summaries: string[] = [];
    stream.on("response.reasoning_summary_text.delta", ({ delta }) => void summaries.push(delta));
    const { output } = await stream.finalResponse();
    expect(summaries.join("")).toBe("They greet.");
    expect(output).toMatchObject([
      { summary: [{ type: "summary_text", text: "They greet." }], encrypted_content: expect.any(String) },
      { phase: "final_answer" },
    ]);
    const input = [{ role: "user" as const, content: "Hi" }, ...(output as OpenAI.Responses.ResponseInputItem[])];
    await client.responses.create({ model: "gpt-oss-20b", input });
    expect(server.player.last.messages).toEqual([
      user,
      { role: "assistant", reasoning: "They greet." },
      { role: "assistant", content: "Hello!" },
    ]);
  });
});
