import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type CompletedRequest, StreamedAnswer } from "../../../lib/bench/serve/answer.js";
import { poissonArrivals } from "../../../lib/bench/serve/arrivals.js";
import { RequestFailure } from "../../../lib/bench/serve/failure.js";
import { type Arrivals, Level } from "../../../lib/bench/serve/level.js";
import { latenciesOf, serveValues } from "../../../lib/bench/serve/metrics.js";
import { readBody, readServiceLevel } from "../../../lib/bench/serve/options.js";
import { FilePrompts, RandomPrompts } from "../../../lib/bench/serve/prompts.js";
import { EventStreamReader } from "../../../lib/bench/serve/sse.js";
import { seededRandom } from "../../../lib/bench/statistics.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";

/** The parts of `gpt-oss bench serve` that need no server. */

describe("the reader of event streams", () => {
  const read = (chunks: readonly Buffer[]) => {
    const events: string[] = [];
    const reader = new EventStreamReader((data) => events.push(data));
    for (const chunk of chunks) reader.push(chunk);
    return { events, rest: reader.end() };
  };

  it.each<[name: string, text: string, events: string[], rest: string | null]>([
    ["LF", 'data: {"a":1}\n\ndata: [DONE]\n\n', ['{"a":1}', "[DONE]"], null],
    ["CRLF", 'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n', ['{"a":1}', "[DONE]"], null],
    ["CR", 'data: {"a":1}\r\rdata: [DONE]\r\r', ['{"a":1}', "[DONE]"], null],
    ["comments and other fields", ": ping\n\nevent: x\nid: 1\nretry: 5\ndata: a\n: pong\n\n", ["a"], null],
    ["data of several lines, with and without a blank", "data:a\ndata:  b\ndata\ndata:\n\n", ["a\n b\n"], null],
    ["a byte order mark", "\ufeffdata: a\n\n", ["a"], null],
    ["letters of several bytes", "data: Überraschung 🎉\n\n", ["Überraschung 🎉"], null],
    ["an event without its end", "data: a\n\ndata: [DONE]", ["a"], "[DONE]"],
    ["no event at all", "\n\n\n", [], null],
  ])("reads %s, wherever the chunks are cut", (_, text, events, rest) => {
    const bytes = Buffer.from(text);
    expect(read([bytes])).toEqual({ events, rest });
    for (let at = 1; at < bytes.length; at++)
      expect(read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual({ events, rest });
    expect(read(Array.from(bytes, (byte) => Buffer.of(byte)))).toEqual({ events, rest });
  });

  it("does not collect a line that never ends", () => {
    const reader = new EventStreamReader(() => {});
    const chunk = Buffer.alloc(2 ** 20, "x");
    const push = () => {
      for (let i = 0; i < 32; i++) reader.push(chunk);
    };
    expect(push).toThrow(new RequestFailure("the server sent an event of more than 16777216 characters"));
  });
});

describe("a streamed answer", () => {
  const answerOf = (...events: (object | string)[]) => {
    const answer = new StreamedAnswer();
    for (const [i, event] of events.entries())
      answer.take(typeof event === "string" ? event : JSON.stringify(event), 10 * (i + 1));
    return answer.completed(0, 7);
  };
  const piece = (delta: object, finish: string | null = null) => ({ choices: [{ delta, finish_reason: finish }] });
  const usage = { choices: [], usage: { prompt_tokens: 5, completion_tokens: 9 } };

  it("counts pieces of text, of reasoning and of calls, but not the role", () => {
    const call = { tool_calls: [{ index: 0, function: { arguments: "{" } }] };
    const pieces = [{ reasoning: "a" }, { reasoning_content: "b" }, { content: "c" }, call, { refusal: "no" }];
    const events = [{ role: "assistant", content: "" }, ...pieces, { content: null }, {}];
    const answer = answerOf(...events.map((delta) => piece(delta)), piece({}, "stop"), usage, "[DONE]");
    expect(answer).toEqual({
      start: 0,
      pieces: [20, 30, 40, 50, 60],
      end: 90,
      inputTokens: 5,
      outputTokens: 9,
      isCountedByServer: true,
    });
  });

  it("counts pieces as tokens where the server tells no usage", () => {
    const text = (value: string) => ({ choices: [{ text: value }], usage: null });
    const empty = { choices: [], usage: { prompt_tokens: 0, completion_tokens: 0 } };
    const answer = answerOf(text("a"), text(""), text("b"), empty, "[DONE]");
    expect(answer).toMatchObject({ pieces: [10, 30], end: 30, inputTokens: 7, outputTokens: 2 });
    expect(answer.isCountedByServer).toBe(false);
  });

  it.each<[name: string, events: (object | string)[], message: string]>([
    ["no end", [piece({ content: "a" })], "the stream broke off after 1 piece of text"],
    ["no text", [piece({ role: "assistant" }), "[DONE]"], "the answer had no text"],
    ["no JSON", ["<html>"], "the server sent an event that is no JSON object: <html>"],
    ["no object", ["[1]"], "the server sent an event that is no JSON object: [1]"],
    ["an error", [{ error: { message: "out of memory" } }], "the server sent an error: out of memory"],
    ["an error of one word", [{ error: "oops" }], "the server sent an error: oops"],
    ["an error of another form", [{ error: { a: 1 } }], 'the server sent an error: {"error":{"a":1}}'],
  ])("with %s is a failure", (_, events, message) => {
    expect(() => answerOf(...events)).toThrow(new RequestFailure(message));
  });
});

describe("arrivals", () => {
  it("have gaps of -ln(1 - u) / rate", () => {
    const draws = [0, 0.5, 0.75];
    const arrivals = poissonArrivals(2, 4, () => draws.shift()!);
    expect(arrivals).toEqual([0, 0, 500 * Math.LN2, 500 * Math.LN2 + 1000 * Math.LN2]);
  });

  it("have the wanted rate, and gaps that vary as much as their mean", () => {
    const count = 20_000;
    const arrivals = poissonArrivals(50, count, seededRandom(1));
    const gaps = arrivals.slice(1).map((at, i) => at - arrivals[i]!);
    const mean = arrivals.at(-1)! / (count - 1);
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
    // Four standard errors of the mean of 20,000 gaps are 2.8 %.
    expect(mean / 20).toBeCloseTo(1, 1);
    expect(deviation / mean).toBeCloseTo(1, 1);
    expect(poissonArrivals(50, 5, seededRandom(1))).toEqual(arrivals.slice(0, 5));
  });
});

const request = (start: number, pieces: number[], end: number, outputTokens: number): CompletedRequest => {
  return { start, pieces, end, inputTokens: 100, outputTokens, isCountedByServer: true };
};

describe("the values of a row", () => {
  it("have the latencies of serving benchmarks", () => {
    expect(latenciesOf(request(1000, [1050, 1060, 1090], 1100, 6))).toEqual({
      ttft: 50,
      tpot: 10,
      e2e: 100,
      itl: [10, 30],
    });
    expect(latenciesOf(request(0, [50], 60, 1))).toEqual({ ttft: 50, tpot: null, e2e: 60, itl: [] });
  });

  const completed = [
    request(0, [100, 110, 130], 130, 3), // ttft 100, tpot 15, e2e 130
    request(0, [200, 240], 240, 5), // ttft 200, tpot 10, e2e 240
    request(130, [430], 430, 1), // ttft 300, e2e 300
  ];
  const level = { completed, failures: ["429", "500"], milliseconds: 500, clientBusy: 0.25 };

  it("are computed from known arrivals", () => {
    const values = serveValues(level, { ttft: 200, tpot: 12, e2e: 300 });
    const medians = Object.fromEntries(Object.entries(values).map(([name, { median }]) => [name, median]));
    expect(medians).toEqual({
      outputThroughput: 18,
      totalThroughput: 618,
      requestThroughput: 6,
      goodput: 2, // the second request only
      ...{ ttft: 200, ttftMean: 200, ttftP99: 298 },
      ...{ tpot: 12.5, tpotMean: 12.5, tpotP99: 14.95 },
      ...{ itl: 20, itlMean: 23.333, itlP99: 39.6 },
      ...{ e2e: 240, e2eMean: 223.33, e2eP99: 298.8 },
      ...{ completed: 3, failed: 2, inputTokens: 300, outputTokens: 9, duration: 0.5, clientBusy: 0.25 },
    });
    expect(values.ttft).toEqual({
      unit: "ms",
      better: "less",
      median: 200,
      min: 100,
      max: 300,
      samples: [100, 200, 300],
    });
    expect(values.itl).toEqual({ unit: "ms", better: "less", median: 20, min: 10, max: 40 });
    expect(values.outputThroughput).toMatchObject({ unit: "tokens/s", better: "more" });
  });

  it("count an answer of one token as good if its other times are", () => {
    const goodput = (bounds: object) => serveValues(level, bounds).goodput!.median;
    expect([goodput({}), goodput({ tpot: 1 }), goodput({ ttft: 99 }), goodput({ e2e: 240 })]).toEqual([6, 2, 0, 4]);
    expect(serveValues(level, null).goodput).toBeUndefined();
  });

  it("keep every digit of a count", () => {
    const one = { ...request(0, [1, 2], 2, 1_234_567), inputTokens: 7_654_321 };
    const values = serveValues({ ...level, completed: [one] }, null);
    expect([values.inputTokens!.median, values.outputTokens!.median]).toEqual([7_654_321, 1_234_567]);
  });

  it("take more gaps than a call has room for arguments", () => {
    const pieces = Array.from({ length: 300_000 }, (_, i) => i);
    const values = serveValues({ ...level, completed: [request(0, pieces, 300_000, 300_000)] }, null);
    expect(values.itl).toMatchObject({ median: 1, min: 1, max: 1 });
  });

  it("of a level without an answer are counts alone", () => {
    const values = serveValues({ ...level, completed: [] }, null);
    expect(Object.keys(values).filter((name) => /ttft|tpot|itl|e2e/.test(name))).toEqual([]);
    expect([values.completed!.median, values.failed!.median, values.outputThroughput!.median]).toEqual([0, 2, 0]);
  });
});

describe("options", () => {
  it("read bounds", () => {
    expect(readServiceLevel("ttft=500, tpot=50.5,e2e=10000")).toEqual({ ttft: 500, tpot: 50.5, e2e: 10000 });
    for (const text of ["", "ttft", "ttft=", "ttft=-1", "itl=5", "ttft=1,ttft=2", "ttft=1;tpot=2", "ttft=1,"])
      expect(() => readServiceLevel(text)).toThrow(/^Expected milliseconds such as ttft=500/);
  });

  it("read a body", () => {
    expect(readBody('{"temperature":0}')).toEqual({ temperature: 0 });
    expect(() => readBody("{")).toThrow(/^The body is no JSON: /);
    for (const text of ["1", "null", "[]"]) expect(() => readBody(text)).toThrow(/^Expected a JSON object such as/);
  });
});

describe("prompts", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-prompts-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (text: string) => {
    const name = path.join(folder, "prompts.jsonl");
    writeFileSync(name, text);
    return name;
  };

  it("of random words have the wanted tokens, differ, and are those of the seed", () => {
    const prompts = (seed: number) => {
      const source = new RandomPrompts(300, 20, seededRandom(seed));
      return Array.from({ length: 50 }, () => source.next());
    };
    const first = prompts(1);
    for (const { text, tokens, maxTokens, messages } of first) {
      expect([tokens, maxTokens, tokenizer.count(text!)]).toEqual([300, 20, 300]);
      expect(messages).toEqual([{ role: "user", content: text }]);
    }
    // 50 of 3,524 words, twice in a row: no two prompts begin alike.
    expect(new Set(first.map(({ text }) => text!.split(" ").slice(0, 2).join(" "))).size).toBe(50);
    expect(prompts(1)).toEqual(first);
    expect(prompts(2)[0]).not.toEqual(first[0]);
  });

  it("of a file are used in order, again and again", () => {
    const parts = [{ type: "text", text: "Ahoy" }, { type: "image_url" }];
    const chat = [
      { role: "system", content: "Be brief." },
      { role: "user", content: parts },
    ];
    const lines = [{ prompt: "Hello world", max_tokens: 3 }, { messages: chat }];
    const name = file(`${lines.map((line) => JSON.stringify(line)).join("\r\n")}\n\n`);
    const source = new FilePrompts(name, 20, "chat");
    const hello = {
      messages: [{ role: "user", content: "Hello world" }],
      text: "Hello world",
      tokens: 2,
      maxTokens: 3,
    };
    const tokens = tokenizer.count("Be brief.") + tokenizer.count("Ahoy");
    expect([source.next(), source.next(), source.next()]).toEqual([
      hello,
      { messages: chat, text: null, tokens, maxTokens: 20 },
      hello,
    ]);
    expect(source.parameters).toEqual({ prompts: "prompts.jsonl", outputTokens: 20 });
  });

  it.each([
    ["", /prompts\.jsonl has no prompt$/],
    ["{", /^line 1 of .*prompts\.jsonl is no JSON$/],
    ['{"prompt":"a"}\n\n7', /^line 3 of .* is no JSON object$/],
    ["{}", /expected one of "prompt" and "messages"$/],
    ['{"prompt":"a","messages":[]}', /expected one of "prompt" and "messages"$/],
    ['{"prompt":""}', /expected a text for prompt$/],
    ['{"messages":[]}', /expected a list of messages$/],
    ['{"messages":["a"]}', /expected a list of messages$/],
    ['{"prompt":"a","max_tokens":0}', /expected a positive integer for max_tokens$/],
  ])("of a file are checked: %s", (text, message) => {
    const read = () => new FilePrompts(file(text), 20, "chat");
    expect(read).toThrow(message);
    expect(read).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field: "prompts" }));
  });

  it("of a file must be there, and fit the endpoint", () => {
    expect(() => new FilePrompts(path.join(folder, "no"), 20, "chat")).toThrow(/^The prompts cannot be read: ENOENT/);
    const messages = file('{"messages":[{"role":"user","content":"a"}]}');
    expect(() => new FilePrompts(messages, 20, "completions")).toThrow(/"messages" need the chat endpoint/);
  });
});

describe("a level of load", () => {
  /** Requests that end when the test says so. */
  function running(arrivals: Arrivals, requests: number) {
    const open: { resolve: (answer: CompletedRequest) => void; reject: (error: unknown) => void }[] = [];
    const stop = new AbortController();
    let most = 0;
    let sent = 0;
    const level = new Level({
      arrivals,
      requests,
      random: () => 0, // all at once
      signal: stop.signal,
      onEnd: () => {},
      send: (signal) =>
        new Promise((resolve, reject) => {
          sent++;
          open.push({ resolve, reject });
          most = Math.max(most, open.length);
          signal.addEventListener("abort", () => reject(signal.reason));
        }),
    });
    const result = level.run();
    const settled = () => new Promise(setImmediate);
    return { level, result, open, stop, settled, counts: () => ({ sent, most }) };
  }
  const answer = request(0, [1], 1, 1);

  it.each<[name: string, arrivals: Arrivals]>([
    ["a closed loop", { kind: "closed", concurrency: 3 }],
    ["an open loop with a bound", { kind: "open", rate: 1000, maxConcurrency: 3 }],
  ])("as %s has so many requests at once", async (_, arrivals) => {
    const { result, open, settled, counts } = running(arrivals, 7);
    await settled();
    for (let ended = 0; ended < 7; ended++) {
      expect(counts()).toEqual({ sent: Math.min(3 + ended, 7), most: 3 });
      const one = open.shift()!;
      if (ended === 1) one.reject(new RequestFailure("429"));
      else one.resolve(answer);
      await settled();
    }
    const { completed, failures } = await result;
    expect([completed.length, failures]).toEqual([6, ["429"]]);
  });

  it("as an open loop does not wait for answers", async () => {
    const { result, open, settled, counts } = running({ kind: "open", rate: 1000, maxConcurrency: null }, 50);
    await settled();
    expect(counts()).toEqual({ sent: 50, most: 50 });
    for (const { resolve } of open) resolve(answer);
    expect((await result).completed.length).toBe(50);
  });

  it.each<[name: string, arrivals: Arrivals]>([
    ["a closed loop", { kind: "closed", concurrency: 2 }],
    ["an open loop", { kind: "open", rate: 1000, maxConcurrency: 2 }],
  ])("as %s ends at an abort, with what was measured", async (_, arrivals) => {
    const { result, open, stop, settled, counts } = running(arrivals, 9);
    await settled();
    open.shift()!.resolve(answer);
    await settled();
    stop.abort(new Error("stopped"));
    const { completed, failures } = await result;
    expect([completed.length, failures, counts().sent]).toEqual([1, [], 3]);
  });

  it("stops waiting for arrivals at an abort", async () => {
    const stop = new AbortController();
    const random = () => 1 - Number.EPSILON; // the next request would come after hours
    const options = { requests: 9, random, signal: stop.signal, onEnd: () => stop.abort(), send: async () => answer };
    const level = new Level({ arrivals: { kind: "open", rate: 0.001, maxConcurrency: null }, ...options });
    expect((await level.run()).completed.length).toBe(1);
  });

  it.each<[name: string, arrivals: Arrivals]>([
    ["a closed loop", { kind: "closed", concurrency: 2 }],
    ["an open loop", { kind: "open", rate: 1000, maxConcurrency: 2 }],
  ])("as %s rejects with an error that is no failure of a request", async (_, arrivals) => {
    const { result, open, settled } = running(arrivals, 9);
    await settled();
    open[0]!.reject(new TypeError("a fault"));
    await expect(result).rejects.toThrow(new TypeError("a fault"));
  });
});
