import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { conversationItem } from "../../../lib/server/responses/conversation.js";
import { ResponseStores } from "../../../lib/server/responses/store.js";
import { call, final, reasoning, turn } from "../../support/scripted-turns.js";
import type { Json } from "../../support/server.js";
import { bearer } from "../../support/server-operations.js";
import { SteeredTurn } from "../../support/steered-turn.js";
import { type TurnServer, turnServer } from "../../support/turn-server.js";

const hello = turn([reasoning("They greet."), final("Hello!")]);
const ask = { model: "gpt-oss-20b", input: "Hi" };
const user = (content: string) => ({ role: "user", content });
const text = (words: string) => [{ type: "input_text", text: words }];

type Method = "GET" | "POST" | "DELETE";

async function send(server: TurnServer, method: Method, path: string, body?: object, key?: string) {
  const { statusCode, body: answer } = await server.app.inject({
    method,
    url: `/v1/conversations${path}`,
    ...(body && { payload: body }),
    ...(key && { headers: bearer(key) }),
  });
  return { status: statusCode, json: JSON.parse(answer) as Json };
}

async function created(server: TurnServer, body: object = {}): Promise<string> {
  const { status, json } = await send(server, "POST", "", body);
  expect(status).toBe(200);
  return json.id;
}

/** What a conversation says, in the order of its items. */
async function said(server: TurnServer, id: string): Promise<string[]> {
  const { json } = await send(server, "GET", `/${id}/items?order=asc&limit=100`);
  return json.data.map((item: Json) => item.content?.[0].text ?? item.arguments ?? item.output);
}

describe("a conversation", () => {
  it("is created, read, changed and deleted", async () => {
    await using server = await turnServer([hello]);
    const { status, json } = await send(server, "POST", "", { metadata: { topic: "a" } });
    expect(status).toBe(200);
    expect(json).toEqual({
      id: expect.stringMatching(/^conv_[0-9a-f]{32}$/),
      object: "conversation",
      created_at: server.clock.now.getTime() / 1000,
      metadata: { topic: "a" },
    });
    expect(await send(server, "GET", `/${json.id}`)).toEqual({ status: 200, json });
    const changed = { ...json, metadata: { topic: "b", more: "c" } };
    expect(await send(server, "POST", `/${json.id}`, { metadata: changed.metadata })).toEqual({
      status: 200,
      json: changed,
    });
    expect((await send(server, "GET", `/${json.id}`)).json).toEqual(changed);
    expect(await send(server, "DELETE", `/${json.id}`)).toEqual({
      status: 200,
      json: { id: json.id, object: "conversation.deleted", deleted: true },
    });
    for (const method of ["GET", "DELETE"] as const) {
      expect(await send(server, method, `/${json.id}`)).toMatchObject({
        status: 404,
        json: { error: { type: "not_found_error", code: "conversation_not_found" } },
      });
    }
  });

  it.each([undefined, {}, { items: null, metadata: null }, { items: [] }])(
    "is empty if created with %j",
    async (body) => {
      await using server = await turnServer([hello]);
      const { json } = await send(server, "POST", "", body);
      expect(json.metadata).toEqual({});
      expect((await send(server, "GET", `/${json.id}/items`)).json).toEqual({
        object: "list",
        data: [],
        first_id: null,
        last_id: null,
        has_more: false,
      });
    },
  );

  const many = Array.from({ length: 21 }, () => user("a"));
  it.each<[method: Method, path: string, body: object | undefined, param: string | null, code: string]>([
    ["POST", "", { items: many }, "items", "invalid_value"],
    ["POST", "", { items: "a" }, "items", "invalid_value"],
    ["POST", "", { items: [1] }, "items[0]", "invalid_value"],
    ["POST", "", { items: [{ role: "robot", content: "a" }] }, "items[0].role", "invalid_value"],
    ["POST", "", { items: [{ type: "a thought" }] }, "items[0].type", "invalid_value"],
    ["POST", "", { items: [{ type: "message", role: "user", content: 5 }] }, "items[0].content", "invalid_value"],
    [
      "POST",
      "",
      { items: [{ type: "function_call_output", call_id: "c", output: "1" }] },
      "items[0].call_id",
      "invalid_value",
    ],
    ["POST", "", { metadata: { a: 1 } }, "metadata.a", "invalid_value"],
    ["POST", "", { metadata: { ["x".repeat(65)]: "a" } }, `metadata.${"x".repeat(65)}`, "invalid_value"],
    ["POST", "", { metadata: { a: "\ud800" } }, "metadata.a", "invalid_value"],
    ["POST", "", [] as object, null, "invalid_value"],
    ["POST", "/ID", {}, "metadata", "invalid_value"],
    ["POST", "/ID", undefined, null, "invalid_value"],
    ["POST", "/ID", { metadata: [] }, "metadata", "invalid_value"],
    ["POST", "/ID/items", {}, "items", "invalid_value"],
    ["POST", "/ID/items", undefined, null, "invalid_value"],
    ["POST", "/ID/items", { items: many }, "items", "invalid_value"],
    ["POST", "/ID/items", { items: [user("a"), null] }, "items[1]", "invalid_value"],
    ["POST", "/ID/items", { items: [{ ...user("a"), status: 5 }] }, "items[0].status", "invalid_value"],
    ["POST", "/ID/items", { items: [{ ...user("a"), status: "bogus" }] }, "items[0].status", "invalid_value"],
    [
      "POST",
      "/ID/items",
      { items: [{ type: "reasoning", content: [], summary: [{ type: "summary_text", text: 5 }] }] },
      "items[0].summary[0].text",
      "invalid_value",
    ],
    ["GET", "/ID/items?limit=0x10", undefined, "limit", "invalid_value"],
    ["GET", "/ID/items?limit=1e1", undefined, "limit", "invalid_value"],
    ["GET", "/ID/items?limit=0", undefined, "limit", "invalid_value"],
    ["GET", "/ID/items?limit=101", undefined, "limit", "invalid_value"],
    ["GET", "/ID/items?order=up", undefined, "order", "invalid_value"],
    ["GET", "/ID/items?after=msg_1", undefined, "after", "invalid_value"],
  ])("refuses %s %s with %j", async (method, path, body, param, code) => {
    await using server = await turnServer([hello]);
    const id = await created(server, { items: [user("kept")], metadata: { a: "b" } });
    const { status, json } = await send(server, method, path.replace("ID", id), body);
    expect([status, json.error.param, json.error.code]).toEqual([400, param, code]);
    expect(await said(server, id)).toEqual(["kept"]);
    expect((await send(server, "GET", `/${id}`)).json.metadata).toEqual({ a: "b" });
  });

  it.each<[method: Method, path: string, body?: object]>([
    ["GET", "/conv_1"],
    ["POST", "/conv_1", { metadata: {} }],
    ["DELETE", "/conv_1"],
    ["GET", "/conv_1/items"],
    ["POST", "/conv_1/items", { items: [] }],
    ["GET", "/conv_1/items/msg_1"],
    ["DELETE", "/conv_1/items/msg_1"],
    ["GET", "/ID/items/msg_1"],
    ["DELETE", "/ID/items/msg_1"],
    ["GET", "/RESPONSE"],
    ["DELETE", "/RESPONSE"],
  ])("that is not there is 404: %s %s", async (method, path, body) => {
    await using server = await turnServer([hello]);
    const id = await created(server);
    const response = (await server.post(ask)).json.id;
    const { status, json } = await send(server, method, path.replace("ID", id).replace("RESPONSE", response), body);
    expect(status).toBe(404);
    expect(json.error.code).toBe(path.startsWith("/ID") ? "item_not_found" : "conversation_not_found");
    expect((await server.get(id)).status).toBe(404);
    expect((await server.delete(id)).status).toBe(404);
    expect((await server.get(response)).status).toBe(200);
  });

  it("needs the store", async () => {
    await using server = await turnServer([hello], { store: { responses: 0 } });
    expect(await send(server, "POST", "", {})).toMatchObject({
      status: 400,
      json: { error: { code: "unsupported_parameter" } },
    });
  });
});

describe("the items of a conversation", () => {
  it("are added, listed page by page, read and deleted", async () => {
    await using server = await turnServer([hello]);
    const id = await created(server, { items: [user("one"), { ...user("two"), id: "mine" }] });
    const more = [
      { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
      { type: "function_call_output", call_id: "c", output: "12" },
      { role: "assistant", content: "four", status: "incomplete" },
    ];
    const added = (await send(server, "POST", `/${id}/items?include[]=reasoning.encrypted_content`, { items: more }))
      .json;
    expect(added).toMatchObject({
      object: "list",
      has_more: false,
      first_id: added.data[0].id,
      last_id: added.data[2].id,
    });
    expect(added.data).toEqual([
      { ...more[0], id: expect.stringMatching(/^fc_/), status: "completed" },
      { ...more[1], id: expect.stringMatching(/^fco_/), status: "completed" },
      {
        ...more[2],
        type: "message",
        id: expect.stringMatching(/^msg_/),
        content: [{ type: "output_text", text: "four", annotations: [], logprobs: [] }],
      },
    ]);
    const all = (await send(server, "GET", `/${id}/items?order=asc`)).json.data;
    expect(all.slice(0, 2)).toEqual([
      { type: "message", id: expect.any(String), status: "completed", role: "user", content: text("one") },
      { type: "message", id: "mine", status: "completed", role: "user", content: text("two") },
    ]);
    expect(all.slice(2)).toEqual(added.data);
    const ids = all.map(({ id }: { id: string }) => id).reverse();
    const page = (await send(server, "GET", `/${id}/items?limit=2&after=${ids[1]}`)).json;
    expect(page).toMatchObject({ first_id: ids[2], last_id: ids[3], has_more: true });
    expect(page.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(2, 4));

    expect(await send(server, "GET", `/${id}/items/mine`)).toEqual({ status: 200, json: all[1] });
    expect(await send(server, "DELETE", `/${id}/items/mine`)).toEqual({
      status: 200,
      json: (await send(server, "GET", `/${id}`)).json,
    });
    expect((await send(server, "GET", `/${id}/items/mine`)).status).toBe(404);
    expect(await said(server, id)).toEqual(["one", "{}", "12", "four"]);
  });

  it("have an id of their own, also when a client sends one again", async () => {
    await using server = await turnServer([hello]);
    const mine = { ...user("one"), id: "mine" };
    const id = await created(server, { items: [mine, mine] });
    await send(server, "POST", `/${id}/items`, { items: [mine, { type: "item_reference", id: "mine" }] }).then(
      ({ status }) => expect(status).toBe(404), // only ids that the server made can be referred to
    );
    await send(server, "POST", `/${id}/items`, { items: [mine] });
    const { data } = (await send(server, "GET", `/${id}/items`)).json;
    expect(new Set(data.map((item: Json) => item.id)).size).toBe(3);
  });

  it("can be referred to by ids that the server made", async () => {
    await using server = await turnServer([hello]);
    const id = await created(server, { items: [user("one")] });
    const [{ id: item }] = (await send(server, "GET", `/${id}/items`)).json.data;
    await server.post({ ...ask, input: [{ type: "item_reference", id: item }] });
    expect(server.player.last.messages).toEqual([user("one")]);
    await send(server, "DELETE", `/${id}`);
    await server.post({ ...ask, store: false, input: [{ type: "item_reference", id: item }] });
    expect(server.player.requests).toHaveLength(2); // the first response has it still
  });

  it("lose none when many are added at once", async () => {
    await using server = await turnServer([hello]);
    const id = await created(server);
    const names = Array.from({ length: 40 }, (_, n) => `item ${n}`);
    const answers = await Promise.all(
      names.map((name) => send(server, "POST", `/${id}/items`, { items: [user(name), user(`${name}b`)] })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect((await said(server, id)).sort()).toEqual(names.flatMap((name) => [name, `${name}b`]).sort());
  });
});

describe("a response of a conversation", () => {
  it.each(["id", "object"])("reads it, and adds what was asked and answered (named by its %s)", async (form) => {
    await using server = await turnServer([hello]);
    const id = await created(server, { items: [{ role: "developer", content: "Be brief." }, user("Before.")] });
    const conversation = form === "id" ? id : { id };
    const { status, json } = await server.post({ ...ask, conversation });
    expect([status, json.conversation, json.previous_response_id]).toEqual([200, { id }, null]);
    expect(server.player.last.messages).toEqual([
      { role: "developer", content: "Be brief." },
      user("Before."),
      user("Hi"),
    ]);
    expect(await said(server, id)).toEqual(["Be brief.", "Before.", "Hi", "They greet.", "Hello!"]);
    const { data } = (await send(server, "GET", `/${id}/items?order=asc`)).json;
    expect(data.slice(3)).toEqual(json.output);

    await server.post({ ...ask, conversation, input: "Again.", stream: true });
    expect(server.player.last.messages.slice(3)).toEqual([
      { role: "assistant", reasoning: "They greet." },
      { role: "assistant", content: "Hello!" },
      user("Again."),
    ]);
    expect(await said(server, id)).toHaveLength(8);
    expect((await server.get(json.id)).json).toEqual(json);
  });

  it("keeps the day of its first turn", async () => {
    await using server = await turnServer([hello]);
    const id = await created(server);
    server.clock.now = new Date("2026-11-23T00:10:00Z");
    await server.post({ ...ask, conversation: id });
    expect(server.player.last.date).toBe("2026-11-22");
  });

  it("answers calls of earlier turns", async () => {
    await using server = await turnServer([turn([call("f", "{}", "call_7")]), hello]);
    const id = await created(server);
    const tools = [{ type: "function", name: "f" }];
    await server.post({ ...ask, tools, conversation: id });
    const output = { type: "function_call_output", call_id: "call_7", output: "12" };
    expect((await server.post({ ...ask, tools, conversation: id, input: [output] })).status).toBe(200);
    expect(await said(server, id)).toEqual(["Hi", "{}", "12", "They greet.", "Hello!"]);
    // Without its call, an output has nothing to answer.
    const { data } = (await send(server, "GET", `/${id}/items`)).json;
    const { id: made } = data.find((item: Json) => item.type === "function_call");
    await send(server, "DELETE", `/${id}/items/${made}`);
    expect((await server.post({ ...ask, conversation: id })).status).toBe(200);
    expect(JSON.stringify(server.player.last.messages)).not.toContain("call_7");
  });

  it("adds to it although it is not stored itself", async () => {
    await using server = await turnServer([hello]);
    const id = await created(server);
    const { json } = await server.post({ ...ask, conversation: id, store: false });
    expect((await server.get(json.id)).status).toBe(404);
    expect(await said(server, id)).toEqual(["Hi", "They greet.", "Hello!"]);
  });

  it("counts its tokens, and changes nothing", async () => {
    await using server = await turnServer([hello]);
    const id = await created(server, { items: [user("word ".repeat(100))] });
    const { json } = await server.app
      .inject({ method: "POST", url: "/v1/responses/input_tokens", payload: { conversation: id, input: "Hi" } })
      .then(({ body }) => ({ json: JSON.parse(body) as Json }));
    expect(json.input_tokens).toBeGreaterThan(100);
    expect(await said(server, id)).toHaveLength(1);
  });

  it.each<[body: object, status: number, param: string, code: string]>([
    [{ conversation: "conv_1" }, 404, "conversation", "conversation_not_found"],
    [{ conversation: { id: "conv_1" } }, 404, "conversation", "conversation_not_found"],
    [{ conversation: "" }, 400, "conversation", "invalid_value"],
    [{ conversation: 5 }, 400, "conversation", "invalid_value"],
    [{ conversation: [] }, 400, "conversation", "invalid_value"],
    [{ conversation: {} }, 400, "conversation.id", "missing_required_parameter"],
    [{ conversation: { id: 5 } }, 400, "conversation.id", "invalid_value"],
    [{ conversation: "ID", previous_response_id: "resp_1" }, 400, "conversation", "mutually_exclusive_parameters"],
    [{ conversation: "ID", input: [] }, 400, "input", "missing_required_parameter"],
    [{ conversation: "ID", temperature: 3 }, 400, "temperature", "invalid_value"],
    [{ conversation: "ID", input: [{ role: "robot" }] }, 400, "input[0].role", "invalid_value"],
  ])("is refused with %j, and leaves no lock", async (body, status, param, code) => {
    await using server = await turnServer([hello]);
    const id = await created(server);
    const answer = await server.post({ ...ask, ...JSON.parse(JSON.stringify(body).replace("ID", id)) });
    expect([answer.status, answer.json.error.param, answer.json.error.code]).toEqual([status, param, code]);
    expect(await said(server, id)).toEqual([]);
    expect((await server.post({ ...ask, conversation: id })).status).toBe(200);
  });

  it("is the only one that writes to it, until it ends", async () => {
    const steered = new SteeredTurn(hello);
    await using server = await turnServer([steered.script, hello]);
    const id = await created(server, { items: [user("Before.")] });
    const [{ id: item }] = (await send(server, "GET", `/${id}/items`)).json.data;
    const first = server.post({ ...ask, conversation: id });
    await expect.poll(() => server.player.requests.length).toBe(1);
    const locked = { status: 409, json: { error: { code: "conversation_locked", type: "invalid_request_error" } } };
    expect(await server.post({ ...ask, conversation: id })).toMatchObject({
      ...locked,
      headers: { "retry-after": "1" },
      json: { error: { param: "conversation" } },
    });
    expect(await send(server, "POST", `/${id}/items`, { items: [user("a")] })).toMatchObject(locked);
    expect(await send(server, "DELETE", `/${id}/items/${item}`)).toMatchObject(locked);
    expect(await send(server, "POST", `/${id}`, { metadata: { a: "b" } })).toMatchObject({ status: 200 });
    expect(await said(server, id)).toEqual(["Before."]);
    steered.release();
    expect((await first).status).toBe(200);
    expect((await server.post({ ...ask, conversation: id, input: "Again." })).status).toBe(200);
    expect(await said(server, id)).toEqual([
      ...["Before.", "Hi", "They greet.", "Hello!"],
      ...["Again.", "They greet.", "Hello!"],
    ]);
    expect((await send(server, "GET", `/${id}`)).json.metadata).toEqual({ a: "b" });
  });

  it.each(["whole", "stream", "background", "background stream"])(
    "that breaks off adds nothing, and releases it (%s)",
    async (form) => {
      const steered = new SteeredTurn(hello);
      await using server = await turnServer([steered.script, hello]);
      const id = await created(server);
      const body = { ...ask, stream: form.includes("stream"), background: form.includes("background") };
      const answer = server.post({ ...body, conversation: id });
      await expect.poll(() => server.player.requests.length).toBe(1);
      steered.release(3);
      steered.fail(new Error("broken"));
      await answer;
      await expect.poll(() => steered.isOver).toBe(true);
      expect(await said(server, id)).toEqual([]);
      expect((await server.post({ ...ask, conversation: id })).status).toBe(200);
      expect(await said(server, id)).toEqual(["Hi", "They greet.", "Hello!"]);
    },
  );

  it.each(["whole", "stream"])("whose client leaves adds nothing, and releases it (%s)", async (form) => {
    const steered = new SteeredTurn(hello);
    await using server = await turnServer([steered.script, hello]);
    const id = await created(server);
    const leaving = new AbortController();
    const answer = fetch(`${await server.baseUrl()}/responses`, {
      method: "POST",
      body: JSON.stringify({ ...ask, conversation: id, stream: form === "stream" }),
      headers: { "content-type": "application/json" },
      signal: leaving.signal,
    }).catch(() => {});
    await expect.poll(() => server.player.requests.length).toBe(1);
    steered.release(3);
    leaving.abort();
    await answer;
    await expect.poll(() => steered.isOver).toBe(true);
    await expect.poll(async () => (await server.post({ ...ask, conversation: id })).status).toBe(200);
    expect(await said(server, id)).toEqual(["Hi", "They greet.", "Hello!"]);
  });

  it.each(["end", "cancel", "delete"])("in the background holds it until its %s", async (how) => {
    const steered = new SteeredTurn(hello);
    await using server = await turnServer([steered.script, hello]);
    const conversation = await created(server);
    const { id } = (await server.post({ ...ask, background: true, conversation })).json;
    expect((await server.post({ ...ask, conversation })).status).toBe(409);
    if (how === "cancel") await server.app.inject({ method: "POST", url: `/v1/responses/${id}/cancel` });
    if (how === "delete") await server.delete(id);
    if (how === "end") steered.release();
    await expect.poll(() => steered.isOver).toBe(true);
    const answered = how === "end" ? ["Hi", "They greet.", "Hello!"] : [];
    expect(await said(server, conversation)).toEqual(answered);
    expect((await server.post({ ...ask, conversation })).status).toBe(200);
  });

  it("that was cut by its limit is added as far as it came", async () => {
    await using server = await turnServer([turn([final("Hello!")], { cutAt: 3 })]);
    const id = await created(server);
    expect((await server.post({ ...ask, conversation: id })).json.status).toBe("incomplete");
    expect(await said(server, id)).toEqual(["Hi", "Hel"]);
  });

  it("does not bring back what was deleted meanwhile", async () => {
    const steered = new SteeredTurn(hello);
    await using server = await turnServer([steered.script, hello]);
    const id = await created(server);
    const answer = server.post({ ...ask, conversation: id });
    await expect.poll(() => server.player.requests.length).toBe(1);
    expect((await send(server, "DELETE", `/${id}`)).status).toBe(200);
    steered.release();
    expect((await answer).json.status).toBe("completed");
    expect((await send(server, "GET", `/${id}`)).status).toBe(404);
  });

  it("is what OpenAI's client asks for", async () => {
    await using server = await turnServer([hello]);
    const client = new OpenAI({ baseURL: await server.baseUrl(), apiKey: "none", maxRetries: 0 });
    const conversation = await client.conversations.create({
      items: [{ type: "message", role: "user", content: "Before." }],
      metadata: { topic: "demo" },
    });
    const response = await client.responses.create({
      model: "gpt-oss-20b",
      input: "Hi",
      conversation: conversation.id,
    });
    expect(response.conversation).toEqual({ id: conversation.id });
    await client.conversations.items.create(conversation.id, { items: [{ role: "user", content: "After." }] });
    const types: string[] = [];
    for await (const item of client.conversations.items.list(conversation.id, { order: "asc", limit: 2 })) {
      types.push(item.type);
    }
    expect(types).toEqual(["message", "message", "reasoning", "message", "message"]);
    const first = (await client.conversations.items.list(conversation.id)).data[0]!;
    const in_ = { conversation_id: conversation.id };
    expect(await client.conversations.items.retrieve(first.id!, in_)).toMatchObject({ id: first.id });
    expect((await client.conversations.items.delete(first.id!, in_)).id).toBe(conversation.id);
    expect((await client.conversations.update(conversation.id, { metadata: { a: "b" } })).metadata).toEqual({ a: "b" });
    expect((await client.conversations.create()).object).toBe("conversation");
    expect((await client.conversations.delete(conversation.id)).deleted).toBe(true);
    await expect(client.conversations.retrieve(conversation.id)).rejects.toMatchObject({ status: 404 });
  });
});

describe("the store", () => {
  it("shows a conversation to its own tenant only", async () => {
    await using server = await turnServer([hello], { server: { apiKeys: ["alice", "bob"] } });
    const { id } = (await send(server, "POST", "", { items: [user("secret")] }, "alice")).json;
    const [{ id: item }] = (await send(server, "GET", `/${id}/items`, undefined, "alice")).json.data;
    const attempts: [Method, string, object?][] = [
      ["GET", `/${id}`],
      ["POST", `/${id}`, { metadata: {} }],
      ["GET", `/${id}/items`],
      ["GET", `/${id}/items/${item}`],
      ["POST", `/${id}/items`, { items: [] }],
      ["DELETE", `/${id}/items/${item}`],
      ["DELETE", `/${id}`],
    ];
    const statuses = async (key: string) => {
      const all: number[] = [];
      for (const [method, path, body] of attempts) all.push((await send(server, method, path, body, key)).status);
      return all;
    };
    expect(await statuses("bob")).toEqual(attempts.map(() => 404));
    const { statusCode } = await server.app.inject({
      method: "POST",
      url: "/v1/responses",
      payload: { ...ask, conversation: id },
      headers: bearer("bob"),
    });
    expect(statusCode).toBe(404);
    expect(await statuses("alice")).toEqual(attempts.map(() => 200));
  });

  it("forgets what was not used for longest, response or conversation", async () => {
    await using server = await turnServer([hello], { store: { responses: 2 } });
    const [a, b] = [await created(server), await created(server)];
    await send(server, "GET", `/${a}`);
    const { id } = (await server.post(ask)).json;
    expect((await send(server, "GET", `/${b}`)).status).toBe(404);
    expect((await send(server, "GET", `/${a}`)).status).toBe(200);
    await created(server);
    expect((await server.get(id)).status).toBe(404);
  });

  it("forgets a conversation a day after its last use, but not while a response continues it", async () => {
    const steered = new SteeredTurn(hello);
    await using server = await turnServer([steered.script], { store: { idleMs: 1000 } });
    const later = () => {
      server.clock.now = new Date(server.clock.now.getTime() + 900);
    };
    const id = await created(server);
    later();
    expect((await send(server, "GET", `/${id}`)).status).toBe(200);
    const answer = server.post({ ...ask, conversation: id });
    await expect.poll(() => server.player.requests.length).toBe(1);
    for (let n = 0; n < 3; n++) {
      later();
      expect((await server.get("resp_1")).status).toBe(404);
    }
    steered.release();
    expect((await answer).status).toBe(200);
    expect(await said(server, id)).toHaveLength(3);
    later();
    later();
    expect((await send(server, "GET", `/${id}`)).status).toBe(404);
  });

  it("says in its log when a conversation is gone before its response has ended", async () => {
    const steered = new SteeredTurn(hello);
    await using server = await turnServer([steered.script], { store: { responses: 2 } });
    const id = await created(server, {});
    const answer = server.post({ ...ask, conversation: id });
    await expect.poll(() => server.player.requests.length).toBe(1);
    for (const text of ["a", "b"]) await created(server, { items: [user(text)] });
    steered.release();
    expect((await answer).status).toBe(200);
    expect((await send(server, "GET", `/${id}`)).status).toBe(404);
    expect(JSON.stringify(server.warnings)).toContain("pushed out of the store");
  });

  it("refuses what does not fit, and keeps what was there", async () => {
    await using server = await turnServer([hello], { store: { bytes: 5000 } });
    const long = [user("x".repeat(6000))];
    const full = { status: 413, json: { error: { code: "store_full" } } };
    expect(await send(server, "POST", "", { items: long })).toMatchObject(full);
    const id = await created(server, { items: [user("kept")] });
    expect(await send(server, "POST", `/${id}/items`, { items: long })).toMatchObject(full);
    expect(await said(server, id)).toEqual(["kept"]);
    expect((await server.post({ ...ask, conversation: id, input: long })).status).toBe(200);
    expect(await said(server, id)).toEqual(["kept"]);
    expect(server.warnings).toHaveLength(2);
  });

  it("counts every byte once, and gives all of them back", () => {
    const stores = new ResponseStores(() => new Date(0), { responses: 100, bytes: 50_000 });
    const store = stores.open();
    const items = Array.from({ length: 10 }, (_, n) => conversationItem({ type: "message", id: `msg_${n}` }, null));
    const put = (n: number, count: number) =>
      store.putConversation({
        conversation: { id: `conv_${n}`, object: "conversation", created_at: 0, metadata: {} },
        items: items.slice(0, count),
        date: "2026-11-22",
      });
    for (let n = 0; n < 2000; n++) {
      expect(put(n % 150, n % 11)).toBe(true);
      expect(stores.size).toBeLessThanOrEqual(100);
      expect(stores.bytes).toBeLessThanOrEqual(50_000);
    }
    for (let n = 0; n < 150; n++) store.delete(`conv_${n}`);
    expect([stores.size, stores.bytes, store.issuedItem("msg_0")]).toEqual([0, 0, undefined]);
  });
});
