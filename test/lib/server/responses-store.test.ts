import { describe, expect, it } from "vitest";
import { type ConversationItem, conversationItem } from "../../../lib/server/responses/conversation.js";
import type { ResponseObject } from "../../../lib/server/responses/objects.js";
import { ResponseStores } from "../../../lib/server/responses/store.js";
import { call, final, reasoning, turn } from "../../support/scripted-turns.js";
import { turnServer } from "../../support/turn-server.js";

const hello = turn([reasoning("They greet."), final("Hello!")]);
const ask = { model: "gpt-oss-20b", input: "Hi" };

describe("the store", () => {
  it("answers for what it holds, and no longer once deleted", async () => {
    await using server = await turnServer([hello]);
    const { json } = await server.post(ask);
    expect((await server.get(json.id)).json).toEqual(json);
    expect(await server.delete(json.id)).toMatchObject({
      status: 200,
      json: { id: json.id, object: "response", deleted: true },
    });
    const gone = { status: 404, json: { error: { type: "not_found_error", code: "response_not_found" } } };
    expect(await server.get(json.id)).toMatchObject(gone);
    expect(await server.delete(json.id)).toMatchObject(gone);
    expect(await server.get(`${json.id}/input_items`)).toMatchObject(gone);
    expect(await server.post({ ...ask, previous_response_id: json.id })).toMatchObject(gone);
  });

  it("keeps nothing of a request that says so", async () => {
    await using server = await turnServer([hello]);
    const { json } = await server.post({ ...ask, store: false });
    expect(json.store).toBe(false);
    expect((await server.get(json.id)).status).toBe(404);
  });

  it("may be off", async () => {
    await using server = await turnServer([hello], { store: { responses: 0 } });
    const { json } = await server.post({ ...ask, store: true });
    expect(json.store).toBe(false);
    expect((await server.get(json.id)).status).toBe(404);
    expect(server.warnings).toEqual([]);
  });

  it("takes requests that declare a body and have none", async () => {
    await using server = await turnServer([hello]);
    const { id } = (await server.post(ask)).json;
    const send = async (method: "GET" | "POST" | "DELETE", path: string, payload?: string) => {
      const headers = { "content-type": "application/json" };
      const { statusCode } = await server.app.inject({
        method,
        url: `/v1/responses/${path}`,
        headers,
        ...(payload && { payload }),
      });
      return statusCode;
    };
    expect(await send("GET", id)).toBe(200);
    expect(await send("POST", `${id}/cancel`)).toBe(400);
    expect(await send("POST", "resp_1/cancel", "{}")).toBe(404);
    expect(await send("DELETE", id)).toBe(200);
  });

  it("cancels nothing and replays nothing that was not asked for in the background", async () => {
    await using server = await turnServer([hello]);
    const { json } = await server.post(ask);
    const cancel = async (id: string) => {
      const { statusCode, body } = await server.app.inject({ method: "POST", url: `/v1/responses/${id}/cancel` });
      return { status: statusCode, ...JSON.parse(body).error };
    };
    expect(await cancel(json.id)).toMatchObject({ status: 400, code: "response_not_cancellable" });
    expect(await cancel("resp_1")).toMatchObject({ status: 404, code: "response_not_found" });
    expect(await server.get(`${json.id}?stream=true&starting_after=3`)).toMatchObject({
      status: 400,
      json: { error: { param: "stream" } },
    });
  });

  it("lists the input, page by page, with all that came before", async () => {
    await using server = await turnServer([hello]);
    const first = (await server.post(ask)).json;
    const input = [
      { role: "user", content: [{ type: "input_text", text: "And?" }] },
      { role: "user", content: "Now." },
    ];
    const second = (await server.post({ ...ask, input, previous_response_id: first.id })).json;
    const all = (await server.get(`${second.id}/input_items?order=asc`)).json;
    expect(all).toMatchObject({ object: "list", has_more: false });
    expect(all.data).toEqual([
      { type: "message", id: expect.any(String), role: "user", content: [{ type: "input_text", text: "Hi" }] },
      ...first.output,
      { type: "message", id: expect.any(String), ...input[0] },
      { type: "message", id: expect.any(String), role: "user", content: [{ type: "input_text", text: "Now." }] },
    ]);

    const ids = all.data.map(({ id }: { id: string }) => id).reverse();
    const page = (await server.get(`${second.id}/input_items?limit=2&after=${ids[1]}`)).json;
    expect(page.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(2, 4));
    expect(page).toMatchObject({ first_id: ids[2], last_id: ids[3], has_more: true });
    for (const [query, param] of [
      ["limit=0", "limit"],
      ["limit=x", "limit"],
      ["order=up", "order"],
      ["after=y", "after"],
    ]) {
      expect(await server.get(`${second.id}/input_items?${query}`)).toMatchObject({
        status: 400,
        json: { error: { param } },
      });
    }
  });

  it("forgets what was not used for longest, by number, by size and by time", async () => {
    await using few = await turnServer([hello], { store: { responses: 2 } });
    const [a, b] = [(await few.post(ask)).json.id, (await few.post(ask)).json.id];
    await few.get(a);
    await few.post(ask);
    expect([(await few.get(a)).status, (await few.get(b)).status]).toEqual([200, 404]);

    await using small = await turnServer([hello], { store: { bytes: 2000 } });
    expect((await small.get((await small.post({ ...ask, input: "x".repeat(2000) })).json.id)).status).toBe(404);
    expect(small.warnings).toHaveLength(1);

    await using brief = await turnServer([hello], { store: { idleMs: 1000 } });
    const { id } = (await brief.post(ask)).json;
    const later = (ms: number) => {
      brief.clock.now = new Date(brief.clock.now.getTime() + ms);
    };
    later(900);
    expect((await brief.get(id)).status).toBe(200);
    later(900);
    expect((await brief.get(id)).status).toBe(200);
    later(1100);
    expect((await brief.get(id)).status).toBe(404);
  });

  it("is never larger than its limits", () => {
    const limits = { responses: 300, bytes: 100_000 };
    const stores = new ResponseStores(() => new Date(0), limits);
    const store = stores.open();
    const item = conversationItem({ type: "message", id: "msg_1", content: "x".repeat(100) }, null);
    for (let n = 0; n < 10_000; n++) {
      const response = { id: `resp_${n}`, output: [] } as unknown as ResponseObject;
      expect(store.put({ response, context: Array(n % 20).fill(item), output: [], date: "2026-11-22" })).toBe(true);
      expect(stores.size).toBeLessThanOrEqual(limits.responses);
      expect(stores.bytes).toBeLessThanOrEqual(limits.bytes);
      expect(stores.size).toBeGreaterThan(0);
    }
    for (let n = 0; n < 10_000; n++) store.delete(`resp_${n}`);
    expect([stores.size, stores.bytes]).toEqual([0, 0]);
  });

  it("finds an item by its id as long as one of its responses is there, unless a client named it", () => {
    const store = new ResponseStores(() => new Date(0), { responses: 2 }).open();
    const item = (id: string, issued: boolean) => conversationItem({ type: "message", id }, null, { issued });
    const [shared, named, own] = [item("msg_1", true), item("msg_2", false), item("msg_3", true)];
    const put = (id: string, output: ConversationItem[]) => {
      const response = { id, output: [] } as unknown as ResponseObject;
      store.put({ response, context: [shared, named], output, date: "2026-11-22" });
    };
    const found = () => ["msg_1", "msg_2", "msg_3"].filter((id) => store.issuedItem(id) !== undefined);
    put("resp_1", [own]);
    put("resp_2", []);
    expect(found()).toEqual(["msg_1", "msg_3"]);
    expect(store.issuedItem("msg_3")).toBe(own);
    put("resp_3", []);
    expect(found()).toEqual(["msg_1"]);
    store.delete("resp_2");
    store.delete("resp_3");
    expect(found()).toEqual([]);
    put("resp_4", [own]);
    store.close();
    put("resp_5", [own]);
    expect(found()).toEqual([]);
  });

  it("does not inherit instructions", async () => {
    await using server = await turnServer([hello]);
    const { json } = await server.post({ ...ask, instructions: "Be brief." });
    expect((await server.post({ ...ask, previous_response_id: json.id })).json.instructions).toBeNull();
    expect(server.player.last.instructions).toBeNull();
  });

  it("takes a call that was cut off for one that was not made", async () => {
    const cut = turn([reasoning("Think."), call("f", '{"a":1}')], { cutAt: 8 });
    await using server = await turnServer([cut, hello]);
    const tools = [{ type: "function", name: "f" }];
    const { json } = await server.post({ ...ask, tools });
    expect(json).toMatchObject({ status: "incomplete", output: [{}, { status: "incomplete", arguments: '{"' }] });
    await server.post({ ...ask, tools, input: "Go on.", previous_response_id: json.id });
    expect(server.player.last.messages).toEqual([
      { role: "user", content: "Hi" },
      { role: "assistant", reasoning: "Think." },
      { role: "user", content: "Go on." },
    ]);
  });
});
