import { describe, expect, it } from "vitest";
import type { TurnEvent } from "../../../lib/chat/turn-event.js";
import { GptOssError } from "../../../lib/errors.js";
import type { TurnRequest } from "../../../lib/server/turn/turn.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, preamble, reasoning, turn } from "../../support/scripted-turns.js";
import { turnServer } from "../../support/turn-server.js";

const hello = turn([reasoning("They greet."), final("Hello!")]);
const ask = { model: "gpt-oss-20b", input: "Hi" };

describe("a stream", () => {
  const stream = { ...ask, stream: true };

  it("has these headers", async () => {
    await using server = await turnServer([hello]);
    const { headers } = await server.app.inject({ method: "POST", url: "/v1/responses", payload: stream });
    expect(headers).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    });
  });

  it("tells the events of each kind of item, in order", async () => {
    const script = turn([reasoning("ab"), preamble("cd"), call("f", "{}")], { deltaLength: 9 });
    await using server = await turnServer([script]);
    const events = streamEvents((await server.post({ ...stream, tools: [{ type: "function", name: "f" }] })).text);
    expect(events.map(({ type }) => type)).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.reasoning_text.delta",
      "response.reasoning_text.done",
      "response.output_item.done",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.output_item.added",
      "response.function_call_arguments.delta",
      "response.function_call_arguments.done",
      "response.output_item.done",
      "response.completed",
    ]);
    replayed(events);
  });

  it("ends in the object that is stored, and in the one that comes without a stream", async () => {
    await using server = await turnServer([hello]);
    const response = replayed(streamEvents((await server.post(stream)).text));
    expect((await server.get(response.id)).json).toEqual(response);
    const { json } = await server.post(ask);
    const withoutIds = ({ output, ...rest }: Omit<typeof response, "error">) => ({
      ...rest,
      id: "",
      output: output.map((item) => ({ ...item, id: "" })),
    });
    expect(withoutIds(json)).toEqual(withoutIds(response));
  });

  it("is refused with a status when the turn cannot begin", async () => {
    const tooLong = () => {
      throw new GptOssError("CONTEXT_OVERFLOW", "too long");
    };
    const full = () => {
      throw new GptOssError("QUEUE_FULL", "full");
    };
    await using server = await turnServer([tooLong, full]);
    expect(await server.post(stream)).toMatchObject({
      status: 400,
      json: { error: { code: "context_length_exceeded" } },
    });
    expect(await server.post(stream)).toMatchObject({ status: 429, json: { error: { code: "queue_full" } } });
  });

  it("closes the item under way and says why when the engine fails", async () => {
    async function* failing(): AsyncGenerator<TurnEvent> {
      for (const event of hello) {
        if (event.type === "part-end" && event.part === 1) throw new GptOssError("DEVICE", "The GPU is gone.");
        yield event;
      }
    }
    await using server = await turnServer([failing]);
    const response = replayed(streamEvents((await server.post(stream)).text));
    expect(response).toMatchObject({
      status: "failed",
      // The details of a server's fault are for its log.
      error: { code: "server_error", message: expect.stringMatching(/^The server failed/) },
      output: [
        { type: "reasoning", status: "completed" },
        { type: "message", status: "incomplete", content: [{ text: "Hello!" }] },
      ],
    });
    expect((await server.get(response.id)).status).toBe(404);
    expect((await server.post(ask)).status).toBe(500);
  });

  it("does not tell a client what went wrong inside", async () => {
    async function* failing(): AsyncGenerator<TurnEvent> {
      yield hello[0]!;
      throw new Error("secret");
    }
    await using server = await turnServer([failing]);
    const { text } = await server.post(stream);
    expect(replayed(streamEvents(text)).status).toBe("failed");
    expect(text).not.toContain("secret");
    expect(server.failures).toMatchObject([[{ err: { message: "secret" } }, expect.any(String)]]);
  });

  it("gives signs of life while it waits", async () => {
    const heard = gate<void>();
    async function* waiting(): AsyncGenerator<TurnEvent> {
      await heard.opened;
      yield* hello;
    }
    await using server = await turnServer([waiting], { keepAliveMilliseconds: 1 });
    const reply = await fetch(`${await server.baseUrl()}/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(stream),
    });
    let text = "";
    for await (const chunk of reply.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes(": keep-alive\n\n")) heard.open();
    }
    expect(replayed(streamEvents(text)).status).toBe("completed");
  });

  it.each([true, false])("stops the turn when the client goes away (stream: %s)", async (isStream) => {
    const begun = gate<AbortSignal>();
    const stopped = gate<unknown>();
    async function* endless({ signal }: TurnRequest): AsyncGenerator<TurnEvent> {
      yield* hello.slice(0, 2);
      begun.open(signal);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      stopped.open(signal.reason);
      throw signal.reason;
    }
    await using server = await turnServer([endless]);
    const client = new AbortController();
    const aborted = fetch(`${await server.baseUrl()}/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...ask, stream: isStream }),
      signal: client.signal,
    }).then(
      (reply) =>
        reply.text().then(
          () => false,
          () => true,
        ),
      () => true,
    );
    await begun.opened;
    client.abort();
    expect(await stopped.opened).toBeInstanceOf(Error);
    expect(await aborted).toBe(true);
    expect(server.failures).toEqual([]);
  });
});

/** A promise, and the function that resolves it. */
function gate<T>(): { opened: Promise<T>; open: (value: T) => void } {
  let open: (value: T) => void = () => {};
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
