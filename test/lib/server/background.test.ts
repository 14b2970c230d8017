import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import type { ResponseObject, StreamEvent } from "../../../lib/server/responses/objects.js";
import { startTurn } from "../../../lib/server/turn/start.js";
import { reply, ScriptedEngine } from "../../../lib/testing/index.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, reasoning, turn } from "../../support/scripted-turns.js";
import { bearer, post } from "../../support/server-operations.js";
import { SteeredTurn } from "../../support/steered-turn.js";
import { type TurnServer, type TurnServerOptions, turnServer } from "../../support/turn-server.js";

const events = turn([reasoning("They greet."), final("Hello there!")]);
const ask = { model: "gpt-oss-20b", input: "Hi", background: true };

/** A server with one background response, whose turn the test steers. */
async function begun(body: object = {}, options: TurnServerOptions = {}) {
  const steered = new SteeredTurn(events);
  const server = await turnServer([steered.script, events, events, events], options);
  const { json } = await server.post({ ...ask, ...body });
  return { server, steered, id: json.id, json, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

async function cancel(server: TurnServer, id: string) {
  const { statusCode, body } = await server.app.inject({ method: "POST", url: `/v1/responses/${id}/cancel` });
  return { status: statusCode, json: JSON.parse(body) as ResponseObject & { error: { code: string } | null } };
}

/** Waits until the response has this status. */
async function reaches(server: TurnServer, id: string, status: string): Promise<ResponseObject> {
  await expect.poll(async () => (await server.get(id)).json.status).toBe(status);
  return (await server.get(id)).json as unknown as ResponseObject;
}

/** A stream over a socket, which the test can leave. */
async function opened(server: TurnServer, path: string, body?: object) {
  const controller = new AbortController();
  const answer = await fetch(`${await server.baseUrl()}/responses${path}`, {
    signal: controller.signal,
    ...(body && { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });
  expect(answer.headers.get("content-type")).toBe("text/event-stream");
  const reader = answer.body!.getReader();
  const decoder = new TextDecoder();
  let text = "";
  return {
    /** The events until one of this type. */
    async until(type: string): Promise<StreamEvent[]> {
      while (!text.includes(`event: ${type}\n`) || !text.endsWith("\n\n")) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended before ${type}: ${text}`);
        text += decoder.decode(value, { stream: true });
      }
      return streamEvents(text);
    },
    async all(): Promise<StreamEvent[]> {
      for (let piece = await reader.read(); !piece.done; piece = await reader.read())
        text += decoder.decode(piece.value, { stream: true });
      return text === "" ? [] : streamEvents(text);
    },
    leave: () => controller.abort(),
  };
}

/** The response that a client builds from the events, which begin with a wait. */
function built(all: readonly StreamEvent[]): ResponseObject {
  const [created, queued, ...rest] = all;
  expect([created?.type, queued?.type]).toEqual(["response.created", "response.queued"]);
  for (const { response } of [created!, queued!]) {
    expect(response).toMatchObject({ status: "queued", background: true, output: [], usage: null });
  }
  const started = { ...(created!.response as ResponseObject), status: "in_progress" };
  const begun = { ...created!, sequence_number: 1, response: started };
  return replayed([begun, ...rest].map((event, index) => ({ ...event, sequence_number: index })));
}

describe("a background response", () => {
  it("is told at once, waits, is written, and is complete like any other", async () => {
    await using run = await begun();
    const { server, steered, id, json } = run;
    expect(json).toMatchObject({ status: "queued", background: true, store: true, output: [], usage: null });
    expect((await server.get(id)).json).toEqual(json);

    steered.release(3); // the reasoning's start and two deltas
    const begins = await reaches(server, id, "in_progress");
    expect(begins.output).toMatchObject([
      { type: "reasoning", status: "in_progress", content: [{ type: "reasoning_text", text: "They g" }] },
    ]);
    steered.release(5); // to the first delta of the message
    await expect
      .poll(async () => (await server.get(id)).json.output)
      .toMatchObject([
        { type: "reasoning", status: "completed", content: [{ text: "They greet." }] },
        { type: "message", status: "in_progress", content: [{ text: "Hel", logprobs: [] }] },
      ]);
    steered.release();
    const done = await reaches(server, id, "completed");
    const whole = (await server.post({ ...ask, background: false })).json;
    const shape = ({ id: _, background: __, ...response }: ResponseObject) =>
      JSON.stringify(response).replace(/"(rs|msg)_\w+"/g, "null");
    expect(shape(done)).toBe(shape(whole as unknown as ResponseObject));
    expect((await server.get(`${id}/input_items`)).json.data).toMatchObject([{ role: "user" }]);
    await server.post({ ...ask, input: "More.", previous_response_id: id });
    expect(server.player.last.messages).toEqual([
      { role: "user", content: "Hi" },
      { role: "assistant", reasoning: "They greet." },
      { role: "assistant", content: "Hello there!" },
      { role: "user", content: "More." },
    ]);
  });

  it("keeps the log probabilities of a message until it is complete", async () => {
    const likely = turn([final("Hello!")], { logprobs: true });
    const steered = new SteeredTurn(likely);
    await using server = await turnServer([steered.script]);
    const { id } = (await server.post({ ...ask, top_logprobs: 1 })).json;
    steered.release(2);
    const begins = await reaches(server, id, "in_progress");
    expect(begins.output).toMatchObject([{ content: [{ text: "Hel", logprobs: [] }] }]);
    steered.release();
    const { output } = await reaches(server, id, "completed");
    expect(output).toMatchObject([{ content: [{ text: "Hello!", logprobs: [{ token: "Hel" }, { token: "lo!" }] }] }]);
  });

  it.each([
    [{ store: false }, {}, "background", "invalid_value"],
    [{}, { store: { responses: 0 } }, "background", "unsupported_parameter"],
    [{ input: [] }, {}, "input", "missing_required_parameter"],
    [{ temperature: 3 }, {}, "temperature", "invalid_value"],
    [{ background: "yes" }, {}, "background", "invalid_value"],
  ])("is refused with %j on a server with %j", async (more, options, param, code) => {
    await using server = await turnServer([events], options);
    const { status, json } = await server.post({ ...ask, ...more });
    expect([status, json.error.param, json.error.code]).toEqual([400, param, code]);
    expect(server.player.requests).toHaveLength(0);
  });

  it("that is not finished cannot be continued", async () => {
    await using run = await begun();
    const { server, steered, id } = run;
    const answer = await server.post({ ...ask, previous_response_id: id });
    expect(answer).toMatchObject({
      status: 409,
      json: { error: { param: "previous_response_id", code: "response_in_progress" } },
      headers: { "retry-after": "1" },
    });
    steered.release();
    await reaches(server, id, "completed");
    expect((await server.post({ ...ask, previous_response_id: id })).status).toBe(200);
  });

  it("fails with the engine, keeps what is written, and says why", async () => {
    await using run = await begun();
    const { server, steered, id } = run;
    steered.release(2);
    await reaches(server, id, "in_progress");
    steered.fail(new GptOssError("INTERNAL", "secret"));
    const failed = await reaches(server, id, "failed");
    expect(failed).toMatchObject({
      error: { code: "server_error" },
      completed_at: null,
      output: [{ type: "reasoning", status: "incomplete", content: [{ text: "The" }] }],
    });
    expect(JSON.stringify(failed)).not.toContain("secret");
    expect(server.failures).toHaveLength(1);
    expect(await cancel(server, id)).toMatchObject({
      status: 400,
      json: { error: { code: "response_not_cancellable" } },
    });
  });

  it("is cut by its limit like any other", async () => {
    await using server = await turnServer([turn([final("Hello!")], { cutAt: 3 })]);
    const { id } = (await server.post(ask)).json;
    const cut = await reaches(server, id, "incomplete");
    expect(cut).toMatchObject({
      incomplete_details: { reason: "max_output_tokens" },
      output: [{ status: "incomplete" }],
    });
    expect(await cancel(server, id)).toMatchObject({ status: 400 });
  });
});

describe("cancelling", () => {
  const moments = Array.from({ length: events.length }, (_, count) => count);

  it.each(moments)("ends the work after %i events, once and for all", async (count) => {
    await using run = await begun({ stream: false });
    const { server, steered, id } = run;
    steered.release(count);
    await expect.poll(async () => (await server.get(id)).json.status).toBe(count === 0 ? "queued" : "in_progress");
    const first = await cancel(server, id);
    expect(first).toMatchObject({ status: 200, json: { id, status: "cancelled", error: null, completed_at: null } });
    for (const { status } of first.json.output) expect(status).toMatch(/^(completed|incomplete)$/);
    steered.release();
    await expect.poll(() => steered.isOver).toBe(true);
    expect(await cancel(server, id)).toEqual(first);
    expect((await server.get(id)).json).toEqual(first.json);
    expect(server.failures).toEqual([]);
  });

  it("leaves what is complete as it is", async () => {
    await using run = await begun();
    const { server, steered, id } = run;
    steered.release();
    const done = await reaches(server, id, "completed");
    expect(await cancel(server, id)).toMatchObject({
      status: 400,
      json: { error: { code: "response_not_cancellable", type: "invalid_request_error" } },
    });
    expect((await server.get(id)).json).toEqual(done);
  });

  it.each(moments)("by deleting after %i events leaves nothing", async (count) => {
    await using run = await begun({ stream: false });
    const { server, steered, id } = run;
    steered.release(count);
    await expect.poll(async () => (await server.get(id)).json.status).toBe(count === 0 ? "queued" : "in_progress");
    expect(await server.delete(id)).toMatchObject({ status: 200, json: { id, object: "response", deleted: true } });
    steered.release();
    await expect.poll(() => steered.isOver).toBe(true);
    expect((await server.get(id)).status).toBe(404);
    expect((await cancel(server, id)).status).toBe(404);
  });

  it("ends the streams of all readers with a failed response whose status is cancelled", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script]);
    const one = await opened(server, "", { ...ask, stream: true });
    steered.release(3);
    const { id } = (await one.until("response.reasoning_text.delta"))[0]!.response as ResponseObject;
    const other = await opened(server, `/${id}?stream=true`);
    await other.until("response.reasoning_text.delta");
    const { json } = await cancel(server, id);
    const all = await one.all();
    expect(await other.all()).toEqual(all);
    expect(all.at(-2)).toMatchObject({ type: "response.output_item.done", item: { status: "incomplete" } });
    expect(all.at(-1)).toMatchObject({ type: "response.failed", response: json });
    expect((await server.get(`${id}?stream=true`)).text).toContain("response.failed");
  });
});

describe("the events", () => {
  it("go on without a reader, and are taken up where it left them", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script]);
    const first = await opened(server, "", { ...ask, stream: true });
    steered.release(4);
    const seen = await first.until("response.reasoning_text.delta");
    const { id } = seen[0]!.response as ResponseObject;
    first.leave();
    steered.release(3);
    const last = seen.at(-1)!.sequence_number;
    const second = await opened(server, `/${id}?stream=true&starting_after=${last}`);
    steered.release();
    const all = [...seen, ...(await second.all())];
    expect(built(all)).toEqual((await server.get(id)).json);
    expect(server.failures).toEqual([]);
  });

  it("come again after every number, exactly as they came first", async () => {
    const tools = [{ type: "function", name: "f" }];
    const parts = [reasoning("Think."), call("f", '{"a":1}'), final("Done.")];
    await using server = await turnServer([turn(parts, { logprobs: true })]);
    const body = { ...ask, tools, stream: true, top_logprobs: 1, reasoning: { summary: "auto" } };
    const all = streamEvents((await server.post(body)).text);
    const { id } = all[0]!.response as ResponseObject;
    expect(built(all)).toEqual((await server.get(id)).json);
    for (let after = -1; after <= all.length; after++) {
      const { status, text } = await server.get(
        `${id}?stream=true${after < 0 ? "" : `&starting_after=${after}`}&include[]=reasoning.encrypted_content`,
      );
      expect(status).toBe(200);
      expect(text === "" ? [] : streamEvents(text)).toEqual(all.slice(after + 1));
    }
  });

  it("keep no HEAD request waiting", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script]);
    const first = await opened(server, "", { ...ask, stream: true });
    const { id } = (await first.until("response.queued"))[0]!.response as ResponseObject;
    const { statusCode, body, headers } = await server.app.inject({
      method: "HEAD",
      url: `/v1/responses/${id}?stream=true`,
    });
    expect([statusCode, body, headers["content-type"]]).toEqual([200, "", "application/json; charset=utf-8"]);
    steered.release();
    await first.all();
  });

  it("come to each of many readers", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script]);
    const first = await opened(server, "", { ...ask, stream: true });
    const { id } = (await first.until("response.queued"))[0]!.response as ResponseObject;
    const others = await Promise.all(Array.from({ length: 8 }, () => opened(server, `/${id}?stream=true`)));
    others[3]!.leave();
    steered.release();
    const all = await first.all();
    expect(built(all).status).toBe("completed");
    for (const [index, other] of others.entries()) if (index !== 3) expect(await other.all()).toEqual(all);
  });

  it.each<[body: object, query: string, param: string, code: string]>([
    [{ ...ask, background: false }, "stream=true", "stream", "unsupported_parameter"],
    [{ ...ask, background: false, stream: true }, "stream=true", "stream", "unsupported_parameter"],
    [ask, "stream=true", "stream", "unsupported_parameter"],
    [ask, "stream=maybe", "stream", "invalid_value"],
    [ask, "stream=true&stream=true", "stream", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=-1", "starting_after", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=x", "starting_after", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=1.5", "starting_after", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=", "starting_after", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=1e3", "starting_after", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=99999999999999999999", "starting_after", "invalid_value"],
    [{ ...ask, stream: true }, "stream=true&starting_after=1&starting_after=2", "starting_after", "invalid_value"],
  ])("of %j do not come for ?%s", async (body, query, param, code) => {
    await using server = await turnServer([events]);
    const answer = await server.post(body);
    const { id } = answer.json ?? (streamEvents(answer.text)[0]!.response as ResponseObject);
    const { status, json } = await server.get(`${id}?${query}`);
    expect([status, json.error.param, json.error.code]).toEqual([400, param, code]);
  });

  it("are what OpenAI's client takes up", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script, new SteeredTurn(events).script]);
    const client = new OpenAI({ baseURL: await server.baseUrl(), apiKey: "none", maxRetries: 0 });
    const body = { model: "gpt-oss-20b", input: "Hi", background: true } as const;
    const stream = await client.responses.create({ ...body, stream: true });
    steered.release(4);
    let last = -1;
    let id = "";
    for await (const event of stream) {
      last = event.sequence_number;
      if (event.type === "response.created") id = event.response.id;
      if (event.type === "response.reasoning_text.delta") break;
    }
    steered.release();
    let text = "";
    for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: last })) {
      expect(event.sequence_number).toBe(++last);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    expect(text).toBe("Hello there!");
    const again = client.responses.stream({ response_id: id, starting_after: 2 });
    expect((await again.finalResponse()).output_text).toBe("Hello there!");
    const other = await client.responses.create(body);
    expect((await client.responses.cancel(other.id)).status).toBe("cancelled");
    expect((await client.responses.retrieve(other.id)).status).toBe("cancelled");
    await client.responses.delete(other.id);
    await expect(client.responses.retrieve(other.id)).rejects.toMatchObject({ status: 404 });
  });
});

describe("a client that leaves", () => {
  /** A server whose engine accepts a request when the test says so. */
  async function slowToAccept(steered: SteeredTurn) {
    let accept = () => {};
    const accepted = new Promise<void>((resolve) => {
      accept = resolve;
    });
    let reached = (_: AbortSignal) => {};
    const asked = new Promise<AbortSignal>((resolve) => {
      reached = resolve;
    });
    const server = await turnServer([], {
      startTurn: async (request) => {
        reached(request.signal);
        await accepted;
        return Object.assign(steered.script(request), { promptTokens: new Uint32Array(), relaxed: [], hold: () => {} });
      },
    });
    const leaving = new AbortController();
    const answer = fetch(`${await server.baseUrl()}/responses`, {
      method: "POST",
      body: JSON.stringify(ask),
      headers: { "content-type": "application/json" },
      signal: leaving.signal,
    });
    return { server, answer, leaving, signal: await asked, accept };
  }

  it("before it has an id ends the request, which nobody could find", async () => {
    const { server, answer, leaving, signal, accept } = await slowToAccept(new SteeredTurn(events));
    await using _ = server;
    leaving.abort();
    await expect(answer).rejects.toThrow();
    await expect.poll(() => signal.aborted).toBe(true);
    accept();
    await server.app.drain(); // no request and no work is left
  });

  it("after it has an id changes nothing", async () => {
    const steered = new SteeredTurn(events);
    const { server, answer, leaving, signal, accept } = await slowToAccept(steered);
    await using _ = server;
    accept();
    const { id } = (await (await answer).json()) as ResponseObject;
    leaving.abort();
    server.app.server.closeAllConnections();
    steered.release();
    await reaches(server, id, "completed");
    expect(signal.aborted).toBe(false);
  });
});

describe("the limits of a client", () => {
  const one = { server: { concurrentRequests: 1 } };

  it.each(["cancel", "delete", "end", "fail"])("count a background response until its %s", async (how) => {
    await using run = await begun({}, one);
    const { server, steered, id } = run;
    const refused = await server.post(ask);
    expect(refused).toMatchObject({ status: 429, json: { error: { code: "concurrency_limit_exceeded" } } });
    expect((await server.get(id)).json.status).toBe("queued");
    expect((await server.get(`${id}/input_items`)).status).toBe(200);
    if (how === "cancel") expect((await cancel(server, id)).status).toBe(200);
    if (how === "delete") expect((await server.delete(id)).status).toBe(200);
    if (how === "end") steered.release();
    if (how === "fail") steered.fail(new Error("broken"));
    await expect.poll(() => steered.isOver).toBe(true);
    expect((await server.post({ ...ask, background: false })).status).toBe(200);
    expect((await server.post({ ...ask, background: false })).status).toBe(200);
  });

  it("count polls as requests of the minute", async () => {
    await using run = await begun({}, { server: { requestsPerMinute: 3 } });
    const { server, id } = run;
    expect((await server.get(id)).status).toBe(200);
    expect((await server.get(id)).status).toBe(200);
    expect((await server.get(id)).status).toBe(429);
  });
});

describe("the engine", () => {
  it.each(["cancel", "delete", "another response", "close"])("is free again after: %s", async (how) => {
    await using engine = new ScriptedEngine([reply("word ".repeat(3000))], { contextLength: 16_384 });
    await using server = await turnServer([], {
      store: { responses: 1 },
      startTurn: (request) => startTurn(engine, request),
      server: { engine, tokensPerMinute: 100_000 },
    });
    const { json, headers } = await server.post(ask);
    const { id } = json;
    expect(Number(headers["x-ratelimit-remaining-tokens"])).toBeLessThan(100_000);
    await reaches(server, id, "in_progress");
    expect(engine.stats().running).toBe(1);
    if (how === "cancel") await cancel(server, id);
    if (how === "delete") await server.delete(id);
    if (how === "another response") await server.post({ ...ask, max_output_tokens: 1 });
    if (how === "close") await server.app.close();
    await expect.poll(() => engine.stats()).toMatchObject({ running: 0, waiting: 0, blocked: 0 });
    expect(engine.stats().completionTokens).toBeLessThan(3000);
  });
});

describe("another tenant", () => {
  it("sees nothing of it, and cannot end it", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script], { server: { apiKeys: ["alice", "bob"] } });
    const { app } = server;
    const { id } = (await app.inject(post("/v1/responses", ask, bearer("alice")))).json();
    const statuses = async (key: string) => {
      const send = async (method: "GET" | "POST" | "DELETE", path: string) =>
        (await app.inject({ method, url: `/v1/responses/${path}`, headers: bearer(key) })).statusCode;
      return [
        await send("GET", id),
        await send("GET", `${id}?stream=true`),
        await send("GET", `${id}/input_items`),
        await send("POST", `${id}/cancel`),
        await send("DELETE", id),
      ];
    };
    expect(await statuses("bob")).toEqual([404, 404, 404, 404, 404]);
    expect(steered.isOver).toBe(false);
    expect(await statuses("alice")).toEqual([200, 400, 200, 200, 200]);
  });
});

describe("a key that is removed", () => {
  it("ends its background responses, and no others", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-background-"));
    const file = path.join(folder, "keys");
    writeFileSync(file, "alice\nbob\n");
    const turns = [new SteeredTurn(events), new SteeredTurn(events)] as const;
    await using server = await turnServer(
      turns.map(({ script }) => script),
      { server: { apiKeys: { file } } },
    );
    const { app } = server;
    await app.inject(post("/v1/responses", ask, bearer("alice")));
    const { id } = (await app.inject(post("/v1/responses", ask, bearer("bob")))).json();
    await expect.poll(() => server.player.requests.length).toBe(2);
    writeFileSync(file, "bob\n");
    app.reloadApiKeys();
    rmSync(folder, { recursive: true });
    await expect.poll(() => turns[0].isOver).toBe(true);
    expect(turns[1].isOver).toBe(false);
    turns[1].release();
    const status = async () =>
      (await app.inject({ url: `/v1/responses/${id}`, headers: bearer("bob") })).json().status as string;
    await expect.poll(status).toBe("completed");
  });
});

describe("a store without room", () => {
  it("refuses a response that does not fit", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script, events], { store: { bytes: 2000 } });
    const { status, json } = await server.post({ ...ask, input: "x".repeat(2000) });
    expect([status, json.error.code]).toEqual([413, "store_full"]);
    expect((await server.post({ ...ask, background: false })).status).toBe(200);
  });

  it("ends the work on a response that it loses to newer ones", async () => {
    await using run = await begun({}, { store: { responses: 1 } });
    const { server, steered, id } = run;
    const next = (await server.post(ask)).json;
    await expect.poll(() => steered.isOver).toBe(true);
    expect((await server.get(id)).status).toBe(404);
    await reaches(server, next.id, "completed");
  });

  it("ends the work on a response that outgrows it, and tells its reader", async () => {
    const steered = new SteeredTurn(turn([final("word ".repeat(10_000))], { deltaLength: 5 }));
    await using server = await turnServer([steered.script], { store: { bytes: 300_000 } });
    const reader = await opened(server, "", { ...ask, stream: true });
    steered.release();
    const all = await reader.all();
    expect(all.at(-1)).toMatchObject({ type: "response.failed", response: { error: { code: "server_error" } } });
    expect(all.length).toBeLessThan(1000);
    await expect.poll(() => steered.isOver).toBe(true);
    expect((await server.get((all[0]!.response as ResponseObject).id)).status).toBe(404);
    expect(server.warnings.length).toBeGreaterThan(0);
  });

  it("keeps a response as long as it is written, and forgets it a day after", async () => {
    await using run = await begun({}, { store: { idleMs: 1000 } });
    const { server, steered, id } = run;
    const later = () => {
      server.clock.now = new Date(server.clock.now.getTime() + 1100);
    };
    later();
    expect((await server.get("resp_other")).status).toBe(404);
    later();
    expect((await server.get(id)).json.status).toBe("queued");
    steered.release();
    await reaches(server, id, "completed");
    later();
    expect((await server.get(id)).status).toBe(404);
  });
});

describe("a server that ends", () => {
  it("by closing ends the work", async () => {
    const run = await begun();
    await run.server.app.close();
    expect(run.steered.isOver).toBe(true);
  });

  it("by closing does not wait long for work that does not end", async () => {
    const server = await turnServer([
      async function* () {
        yield events[0]!;
        await new Promise(() => {});
      },
    ]);
    const { id } = (await server.post(ask)).json;
    await reaches(server, id, "in_progress");
    const started = performance.now();
    await server.app.close();
    expect(performance.now() - started).toBeLessThan(20_000);
  }, 30_000);

  it("by draining ends at once what nobody reads", async () => {
    await using run = await begun();
    await run.server.app.drain();
    await expect.poll(() => run.steered.isOver).toBe(true);
  });

  it("by draining lets a reader have the end", async () => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script]);
    const reader = await opened(server, "", { ...ask, stream: true });
    await reader.until("response.queued");
    const drained = server.app.drain();
    steered.release();
    expect(built(await reader.all()).status).toBe("completed");
    await drained;
  });

  it.each([
    ["when the time is over", { drainMilliseconds: 50 }, false],
    ["when the reader leaves", {}, true],
  ])("by draining ends it %s", async (_, options, leaves) => {
    const steered = new SteeredTurn(events);
    await using server = await turnServer([steered.script], { server: options });
    const reader = await opened(server, "", { ...ask, stream: true });
    await reader.until("response.queued");
    const drained = server.app.drain();
    if (leaves) reader.leave();
    else expect((await reader.all()).at(-1)).toMatchObject({ type: "response.failed" });
    await drained;
    await expect.poll(() => steered.isOver).toBe(true);
  });

  it("begins none while it drains", async () => {
    const steered = new SteeredTurn(events);
    let begun: AbortSignal | undefined;
    await using server = await turnServer([], {
      startTurn: async (request) => {
        begun = request.signal;
        void server.app.drain();
        return Object.assign(steered.script(request), { promptTokens: new Uint32Array(), relaxed: [], hold: () => {} });
      },
    });
    const { status, json } = await server.post(ask);
    expect([status, json.error.code]).toEqual([503, "not_ready"]);
    expect(begun!.aborted).toBe(true);
  });
});
