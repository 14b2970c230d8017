import diagnostics from "node:diagnostics_channel";
import { describe, expect, it } from "vitest";
import type { NativeEvent } from "../../../lib/binding.js";
import { startChat } from "../../../lib/chat/chat.js";
import { Generation } from "../../../lib/generation/generation.js";
import type { LogitsProcessor } from "../../../lib/generation/logits-processor.js";
import { toldEngine } from "../../support/told-engine.js";

/** Generations of an engine that records its calls and sends the events of the test. */

const timings = { queueMilliseconds: 1, prefillMilliseconds: 2, decodeMilliseconds: 3 };

function begin({
  n = 1,
  topLogprobs = 0,
  processor,
}: {
  n?: number;
  topLogprobs?: number;
  processor?: LogitsProcessor;
}) {
  const calls: string[] = [];
  const supplied: Float32Array[] = [];
  const native = {
    cancel: (id: number) => calls.push(`cancel ${id}`),
    pause: (id: number, index: number, paused: boolean) => calls.push(`pause ${id}.${index} ${paused}`),
    supplyLogits: (id: number, index: number, logits: Float32Array) => {
      calls.push(`supply ${id}.${index}`);
      supplied.push(logits);
    },
  };
  const run = new Generation(native, { id: 7, prompt: Uint32Array.of(1, 2, 3), n, topLogprobs }, processor);
  const token = (index: number, text = "x", top?: { token: number; logprob: number }[]): NativeEvent => ({
    id: 7,
    index,
    kind: "token",
    token: 100 + index,
    text,
    logprob: -1,
    ...(top && { top }),
  });
  const done = (index: number, text = "", reason: "stop" | "length" | "cancelled" = "length"): NativeEvent => ({
    id: 7,
    index,
    kind: "done",
    reason,
    text,
    cachedTokens: 2 + index,
    timings,
  });
  const tell = (...events: NativeEvent[]) => {
    for (const event of events) run.accept(event);
  };
  return { run, calls, supplied, token, done, tell };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("a result", () => {
  it("has the text that was held back, with the last token", async () => {
    const { run, token, done, tell } = begin({});
    const streamed: string[] = [];
    const reading = (async () => {
      for await (const { text } of run) streamed.push(text);
    })();
    tell(token(0, "a"));
    await settled();
    tell(token(0, ""), done(0, "bc"));
    await reading;
    expect(streamed).toEqual(["a", "bc"]);
    expect(await run.result).toEqual({
      tokens: [100, 100],
      text: "abc",
      finishReason: "length",
      usage: { promptTokens: 3, cachedTokens: 2, completionTokens: 2 },
      timings,
    });
  });

  it("has all choices when there are several, the first one twice", async () => {
    const { run, token, done, tell } = begin({ n: 3 });
    tell(token(0, "a"), token(2, "c"), done(0, "A", "stop"), token(1, "b"), done(2, "", "cancelled"), token(1, "b"));
    await settled();
    tell(done(1, "B"));
    const { choices, ...first } = await run.result;
    expect(choices).toEqual([
      { index: 0, tokens: [100], text: "aA", finishReason: "stop" },
      { index: 1, tokens: [101, 101], text: "bbB", finishReason: "length" },
      { index: 2, tokens: [102], text: "c", finishReason: "cancelled" },
    ]);
    expect(first).toEqual({
      tokens: [100],
      text: "aA",
      finishReason: "stop",
      usage: { promptTokens: 3, cachedTokens: 2, completionTokens: 4 },
      timings,
    });
  });

  it("has log probabilities when they were asked for", async () => {
    const { run, token, done, tell } = begin({ topLogprobs: 2 });
    const top = [
      { token: 5, logprob: -0.5 },
      { token: 100, logprob: -1 },
    ];
    tell(token(0, "a", top), done(0));
    expect((await run.result).logprobs).toEqual([{ token: 100, logprob: -1, top }]);
    for await (const t of run) expect(t.top).toEqual(top);
  });

  it("has only the outcome for a reader that frees what it has read", async () => {
    const { run, token, done, tell } = begin({ n: 2, topLogprobs: 1 });
    const streamed: string[] = [];
    const reading = (async () => {
      for await (const batch of run.batches({ most: 3, keep: false })) streamed.push(batch.map((t) => t.text).join(""));
    })();
    for (let i = 0; i < 100; i++) {
      tell(token(0, "a"), token(1, "b"));
      await settled();
    }
    tell(done(1, "", "cancelled"), token(0, ""), done(0, "c"));
    await reading;
    expect(streamed.join("")).toBe(`${"ab".repeat(100)}c`);
    expect(await run.result).toMatchObject({
      finishReason: "length",
      choices: [{ finishReason: "length" }, { finishReason: "cancelled" }],
      usage: { promptTokens: 3, cachedTokens: 2, completionTokens: 201 },
    });
    expect((await run.result).tokens.length).toBeLessThan(64);
  });

  it("fails as a whole when the engine reports an error", async () => {
    const { run, token, done, tell } = begin({ n: 2 });
    const error = new Error("no more");
    tell(token(0), done(0), { id: 7, index: 1, kind: "error", error }, done(1));
    await expect(run.result).rejects.toBe(error);
  });
});

describe("a reader", () => {
  it("too far behind pauses the running choices, and resumes them when it has caught up", async () => {
    const { run, calls, token, done, tell } = begin({ n: 3 });
    const reader = run[Symbol.asyncIterator]();
    tell(token(0), token(1), token(2), done(1));
    await reader.next();
    for (let i = 0; i < 510; i++) tell(token(0), token(2));
    expect(calls).toEqual([]);
    for (let i = 0; i < 10; i++) tell(token(0), token(2));
    expect(calls).toEqual(["pause 7.0 true", "pause 7.2 true"]);
    calls.length = 0;
    tell(done(2)); // it was already sent
    for (let i = 0; i < 700; i++) await reader.next();
    expect(calls).toEqual([]);
    for (let i = 0; i < 100; i++) await reader.next();
    expect(calls).toEqual(["pause 7.0 false"]);
    tell(done(0));
    expect((await run.result).usage.completionTokens).toBe(1043);
  });

  it("that leaves cancels, and no choice stays paused", async () => {
    const { run, calls, token, tell } = begin({});
    for (let i = 0; i < 1100; i++) tell(token(0));
    for await (const _ of run) break;
    expect(calls).toEqual(["pause 7.0 true", "pause 7.0 false", "cancel 7"]);
  });

  it("is not a caller that only awaits the result", async () => {
    const { run, calls, token, done, tell } = begin({});
    for (let i = 0; i < 5000; i++) tell(token(0));
    tell(done(0));
    expect((await run.result).tokens).toHaveLength(5000);
    expect(calls).toEqual([]);
  });

  it("of a chat pauses its generation, and gets an abort at once", async () => {
    const { run, calls, token, tell } = begin({});
    const chat = startChat(
      toldEngine(() => run),
      [{ role: "user", content: "x" }],
      {},
    );
    const reader = chat[Symbol.asyncIterator]();
    // <|channel|>final<|message|>, then text: a delta for each token
    for (const id of [200005, 17196, 200008]) tell({ ...token(0), token: id } as NativeEvent);
    for (let i = 0; i < 400; i++) tell({ ...token(0), token: 64 } as NativeEvent);
    await reader.next();
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < 200; j++) tell({ ...token(0), token: 64 } as NativeEvent);
      await settled();
    }
    expect(calls).toEqual(["pause 7.0 true"]);
    for (let i = 0; i < 1000; i++) await reader.next();
    expect(calls).toEqual(["pause 7.0 true", "pause 7.0 false"]);
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < 400; j++) tell({ ...token(0), token: 64 } as NativeEvent);
      await settled();
    }
    expect(calls.at(-1)).toBe("pause 7.0 true");
    run.abort("enough");
    await expect(chat.result).rejects.toBe("enough");
  });
});

describe("a logits processor", () => {
  const process: NativeEvent = {
    id: 7,
    index: 0,
    kind: "process",
    tokens: Uint32Array.of(1, 2, 3),
    logits: Float32Array.of(1, 2),
  };

  it.each<[string, LogitsProcessor, number[]]>([
    ["in place", (logits) => void logits.fill(9), [9, 9]],
    ["in place, later", async (logits) => void logits.fill(9), [9, 9]],
    ["by returning others", () => Float32Array.of(3, 4), [3, 4]],
    ["by promising others", async () => Float32Array.of(3, 4), [3, 4]],
    ["with a look at the tokens", (_, tokens) => Float32Array.from(tokens.subarray(1)), [2, 3]],
  ])("changes them %s", async (_, processor, expected) => {
    const { calls, supplied, tell } = begin({ processor });
    tell({ ...process, logits: Float32Array.of(1, 2) } as NativeEvent);
    await settled();
    expect(calls).toEqual(["supply 7.0"]);
    expect(Array.from(supplied[0]!)).toEqual(expected);
  });

  const mine = new Error("mine");
  it.each<[string, () => unknown, unknown]>([
    [
      "throws",
      () => {
        throw mine;
      },
      mine,
    ],
    ["rejects", () => Promise.reject(mine), mine],
    [
      "throws nothing in particular",
      () => {
        throw undefined;
      },
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    ],
    [
      "returns a number",
      () => 5,
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/Float32Array of 2 logits.*received 5/),
      }),
    ],
    ["returns null", () => null, expect.objectContaining({ code: "INVALID_ARGUMENT" })],
    ["returns an array", () => [1, 2], expect.objectContaining({ code: "INVALID_ARGUMENT" })],
    [
      "returns too few",
      () => Float32Array.of(1),
      expect.objectContaining({ message: expect.stringMatching(/received "1 logits"/) }),
    ],
  ])("that %s ends its request with that", async (_, processor, expected) => {
    const { run, calls, tell } = begin({ processor: processor as LogitsProcessor });
    tell(process);
    const reason = await run.result.then(
      () => expect.fail("it went on"),
      (error: unknown) => error,
    );
    expect(reason).toEqual(expected);
    expect(calls).toEqual(["cancel 7"]);
  });

  it("that transfers the logits ends its request", async () => {
    const processor: LogitsProcessor = (logits) =>
      void structuredClone(logits, { transfer: [logits.buffer as ArrayBuffer] });
    const { run, tell } = begin({ processor });
    tell({ ...process, logits: Float32Array.of(1, 2) } as NativeEvent);
    await expect(run.result).rejects.toThrow(/received "0 logits"/);
  });

  it("that answers after the end of the request has no effect", async () => {
    let answer!: (logits: Float32Array) => void;
    const { run, calls, tell } = begin({
      processor: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    tell(process);
    run.abort("gone");
    answer(Float32Array.of(3, 4));
    await settled();
    expect(calls).toEqual(["cancel 7"]);
  });
});

describe("diagnostics channels", () => {
  it("report the first token and the end, once", async () => {
    const messages: [string, unknown][] = [];
    const listen = (message: unknown, name: string | symbol) => void messages.push([String(name), message]);
    const names = ["gpt-oss:first-token", "gpt-oss:done"];
    for (const name of names) diagnostics.subscribe(name, listen);
    const { run, token, done, tell } = begin({ n: 2 });
    tell(token(1), token(0), done(0), done(1));
    const failing = begin({});
    failing.run.abort("gone");
    failing.tell(failing.token(0), failing.done(0));
    for (const name of names) diagnostics.unsubscribe(name, listen);
    begin({}).run.abort("nobody listens");
    await run.result;
    expect(messages).toEqual([
      ["gpt-oss:first-token", { id: 7, promptTokens: 3 }],
      [
        "gpt-oss:done",
        {
          id: 7,
          promptTokens: 3,
          completionTokens: 2,
          longestCompletion: 1,
          finishReason: "length",
          cachedTokens: 2,
          timings,
        },
      ],
      ["gpt-oss:done", { id: 7, promptTokens: 3, completionTokens: 0, longestCompletion: 0, error: "gone" }],
    ]);
  });
});
