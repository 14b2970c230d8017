import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { firstSpecialToken } from "../../lib/tokenizer/special-tokens.js";
import {
  analysis,
  answer,
  answers,
  call,
  final,
  preamble,
  prompt,
  tools,
  user,
  withoutIds,
} from "../support/answers.js";
import { seededRandom } from "../support/random.js";
import { asking, chat, framesOf, ids, type Json, post, scriptedServer } from "../support/server.js";
import { draws } from "../support/thorough.js";

/**
 * Failures of other servers of this model in their answers, with one test for each. The numbers are those of our list.
 * Rows 11 and 12 are in chat/forced-calls.test.ts, failures with requests in server/edge-cases-requests.test.ts, the
 * Responses API in server/edge-cases-responses.test.ts.
 */

const controlText = /<\|[a-z]+(_\d+)?\|>/;
describe("tool calls", () => {
  it("row 1: a function is called on analysis and commentary, never on final", async () => {
    const header = (channel: string) => `${channel} to=functions.get_weather <|constrain|>json`;
    const [onAnalysis, onCommentary, onFinal] = await answers(
      ["analysis", "commentary", "final"].map((channel) => call('{"a":1}', header(channel))),
      { tools },
    );
    for (const made of [onAnalysis, onCommentary]) {
      expect(made.message.tool_calls).toEqual([
        {
          id: expect.stringMatching(/^call_/),
          type: "function",
          function: { name: "get_weather", arguments: '{"a":1}' },
        },
      ]);
      expect(made).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
    }
    expect(onFinal.message).toEqual({ role: "assistant", content: '{"a":1}', refusal: null });
    expect(onFinal.finish_reason).toBe("stop");
  });

  it("row 2: the recipient may stand before or after the channel, with every kind of content type", async () => {
    const types = ["", " json", " code", " <|constrain|>json", "<|constrain|>json"];
    const headers = types.flatMap((type) => [
      `<|channel|>commentary to=functions.get_weather${type}`,
      ` to=functions.get_weather<|channel|>commentary${type}`,
    ]);
    const made = await answers(
      headers.map((header) => `${header}<|message|>{"a":1}<|call|>`),
      { tools },
    );
    for (const { message, finish_reason } of made) {
      expect(message.tool_calls[0].function).toEqual({ name: "get_weather", arguments: '{"a":1}' });
      expect(finish_reason).toBe("tool_calls");
    }
  });

  it("row 3: control tokens do not leak into names", async () => {
    const headers = [
      " to=functions.get_weather<|channel|>commentary<|constrain|>json",
      "<|channel|>commentary to=functions.get_weather<|channel|>commentary <|constrain|>json",
      "<|channel|>commentary to=functions.get_weather<|constrain|>json",
    ];
    for (const made of await answers(
      headers.map((header) => `${header}<|message|>{}<|call|>`),
      { tools },
    )) {
      expect(made.message.tool_calls[0].function.name).toBe("get_weather");
      expect(JSON.stringify(made)).not.toMatch(controlText);
    }
  });

  it("row 10: sampling ends at <|call|>, <|return|> and <|endoftext|>, and continues after <|end|>", async () => {
    const invented = "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>sunny<|end|>";
    const written = analysis("I ask.") + call("{}");
    const made = await answer(written + invented, { tools });
    expect(made.usage.completion_tokens).toBe(ids(written).length);
    expect(made.message).toMatchObject({ content: null, reasoning: "I ask." });
    expect(made.message.tool_calls).toHaveLength(1);
    for (const end of ["<|return|>", "<|endoftext|>"]) {
      const said = `<|channel|>final<|message|>Yes${end}`;
      const { message, usage } = await answer(`${said} and no`);
      expect([message.content, usage.completion_tokens]).toEqual(["Yes", ids(said).length]);
    }
  });

  it("row 14: the first piece of a call has id and name, the others arguments only, and the end is tool_calls", async () => {
    const ends = ["<|call|>", "<|end|><|return|>", "<|return|>", ""]; // the last one: the stream ends without a token
    const made = await answers(
      ends.map((end) => `<|channel|>commentary to=functions.get_weather<|message|>{"city":"Bern"}${end}`),
      { tools },
    );
    for (const { frames, finish_reason } of made) {
      expect(finish_reason).toBe("tool_calls");
      const [first, ...rest] = frames
        .flatMap((frame: Json) => frame.choices ?? [])
        .flatMap((choice: Json) => choice.delta.tool_calls ?? []);
      expect(first).toEqual({
        index: 0,
        id: expect.stringMatching(/^call_/),
        type: "function",
        function: { name: "get_weather", arguments: "" },
      });
      expect(rest.length).toBeGreaterThan(1);
      for (const piece of rest) expect(piece).toEqual({ index: 0, function: { arguments: expect.any(String) } });
      expect(rest.map((piece: Json) => piece.function.arguments).join("")).toBe('{"city":"Bern"}');
    }
    const [two] = await answers([`${call("{}").replace("<|call|>", "<|end|>")}<|start|>assistant${call('{"b":2}')}`], {
      tools,
    });
    expect(two.message.tool_calls.map((made: Json) => made.function.arguments)).toEqual(["{}", '{"b":2}']);
  });

  it("row 26: a call without arguments has {}, and one delta of it", async () => {
    for (const made of await answers([call(""), call(" ")], { tools })) {
      expect(JSON.parse(made.message.tool_calls[0].function.arguments)).toEqual({});
      expect(made.finish_reason).toBe("tool_calls");
    }
  });

  it("row 27: arguments that are not JSON are passed on unchanged", async () => {
    for (const written of ['{"city": Bern', "not JSON at all"]) {
      const { message, finish_reason } = await answer(call(written), { tools });
      expect(message.tool_calls[0].function.arguments).toBe(written);
      expect(finish_reason).toBe("tool_calls");
    }
  });

  it("row 28: a turn makes one call, and several calls in a history are accepted in their order", async () => {
    const { message } = await answer(call("{}") + call("{}"), { tools, parallel_tool_calls: true });
    expect(message.tool_calls).toHaveLength(1);
    const calls = ["a", "b"].map((id) => ({
      id,
      type: "function",
      function: { name: "get_weather", arguments: `{"city":"${id}"}` },
    }));
    const text = await prompt({
      messages: [
        user("Hi"),
        { role: "assistant", content: null, tool_calls: calls },
        { role: "tool", tool_call_id: "a", content: "sunny" },
        { role: "tool", tool_call_id: "b", content: "stormy" },
      ],
      tools,
    });
    const order = ['{"city":"a"}', '{"city":"b"}', "sunny", "stormy"].map((part) => text.indexOf(part));
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(order[0]).toBeGreaterThan(0);
  });

  it("row 39: without tools a call is content; with tools an unknown one is returned unchanged", async () => {
    const unknown = call('{"q":1}', "commentary to=functions.search <|constrain|>json");
    const none = await answer(unknown);
    expect(none.message).toEqual({ role: "assistant", content: '{"q":1}', refusal: null });
    expect(none.finish_reason).toBe("stop");
    const forbidden = await answer(call("{}"), { tools, tool_choice: "none" });
    expect(forbidden.message).toEqual({ role: "assistant", content: "{}", refusal: null });
    const some = await answer(unknown, { tools });
    expect(some.message.tool_calls[0].function).toEqual({ name: "search", arguments: '{"q":1}' });
  });
});

describe("channels", () => {
  it("row 4: analysis is reasoning and final is content, without words of the format", async () => {
    const { message } = await answer(analysis("I greet.") + final("Hello."));
    expect(message).toMatchObject({ content: "Hello.", reasoning: "I greet." });
    const glued = await answer(
      "<|channel|>analysis<|message|>I greet.<|start|>assistant<|channel|>final<|message|>Hello.",
    );
    expect(glued.message).toMatchObject({ content: "Hello.", reasoning: "I greet." });
  });

  it("row 6: text inside a header is content", async () => {
    const made = await answers(["<|channel|>final Hello there<|return|>", "Hello there<|return|>"]);
    for (const { message, finish_reason } of made) {
      expect(message.content).toBe("Hello there");
      expect(finish_reason).toBe("stop");
    }
    const thought = await answer("<|channel|>analysis I think<|return|>");
    expect(thought.message).toMatchObject({ content: null, reasoning: "I think" });
  });

  it("row 13: reasoning has both names, in message and delta; clients may send either, or one more", async () => {
    const { message, frames } = await answer(analysis("I think.") + final("Yes."));
    expect(message.reasoning).toBe("I think.");
    expect(message.reasoning_content).toBe("I think.");
    const deltas = frames.flatMap((frame: Json) => frame.choices ?? []).map((choice: Json) => choice.delta);
    const thoughts = deltas.filter((delta: Json) => delta.reasoning !== undefined);
    expect(thoughts.length).toBeGreaterThan(0);
    for (const delta of thoughts)
      expect(delta).toEqual({ reasoning: delta.reasoning, reasoning_content: delta.reasoning });
    for (const name of ["reasoning", "reasoning_content", "thinking"]) {
      const text = await prompt({
        messages: [user("Hi"), { role: "assistant", [name]: "Hm.", content: null }, user("?")],
      });
      expect(text).toContain("<|channel|>analysis<|message|>Hm.<|end|>");
    }
    const hidden = await answer(analysis("I think.") + final("Yes."), { include_reasoning: false });
    expect(Object.keys(hidden.message)).toEqual(["role", "content", "refusal"]);
  });

  it("row 29: a preamble is visible content, joined to the final message by a line end", async () => {
    const called = await answer(preamble("I look it up.") + call("{}"), { tools });
    expect(called.message.content).toBe("I look it up.");
    expect(called.message.tool_calls).toHaveLength(1);
    const said = await answer(preamble("I look it up.") + final("It is sunny."), { tools });
    expect(said.message.content).toBe("I look it up.\nIt is sunny.");
  });

  it("row 30: content streams although tools are declared", async () => {
    // A pause between steps: tokens that come together are one delta.
    const script = { tokens: ids(final("No tool is needed here.")), stepDelayMs: 20 };
    const [{ message, frames, finish_reason }] = await answers([script], { tools });
    expect(message.content).toBe("No tool is needed here.");
    expect(finish_reason).toBe("stop");
    const deltas = frames.flatMap((frame: Json) => frame.choices ?? []).filter((choice: Json) => choice.delta.content);
    expect(deltas.length).toBeGreaterThan(2);
  });

  it("row 31: the answer is the same for any number of tokens at a time", async () => {
    const tokens = ids(analysis("I think about it.") + preamble("One moment.") + call('{"city":"Zürich 🙂"}'));
    const scripts = Array.from({ length: 8 }, (_, k) => ({ tokens, tokensPerStep: k + 1 }));
    const [first, ...rest] = await answers(scripts, { tools });
    expect(first.message).toMatchObject({ reasoning: "I think about it.", content: "One moment." });
    expect(first.message.tool_calls[0].function.arguments).toBe('{"city":"Zürich 🙂"}');
    for (const other of rest) {
      expect(withoutIds({ message: other.message })).toEqual(withoutIds({ message: first.message }));
      expect(other.usage.completion_tokens).toBe(tokens.length);
    }
  });

  it("row 32: a character that is spread over tokens arrives whole", async () => {
    const text = "👩‍👩‍👧‍👦🏳️‍🌈 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🤷🏽‍♀️";
    for (const channel of ["analysis", "final"]) {
      const { message, frames } = await answer(`<|channel|>${channel}<|message|>${text}<|return|>`);
      expect(channel === "final" ? message.content : message.reasoning).toBe(text);
      expect(JSON.stringify(frames)).not.toContain("\uFFFD");
    }
  });
});

describe("any output of the model", () => {
  const finishes = ["stop", "length", "tool_calls"];

  /** One completion for each script, half of them streamed, many at a time. */
  async function survives(completions: readonly number[][]): Promise<void> {
    await using server = await scriptedServer(completions.map((tokens, i) => ({ tokens, tokensPerStep: 1 + (i % 5) })));
    const { app } = server;
    const answer = async (index: number) => {
      const streamed = index % 2 === 0;
      const response = await app.inject({
        method: "POST",
        url: "/v1/chat/completions",
        payload: asking({ stream: streamed, ...(index % 3 === 0 && { tools }) }),
      });
      expect(response.statusCode).toBe(200);
      expect(response.payload).not.toMatch(controlText);
      const reason = streamed ? endOf(response.payload) : JSON.parse(response.payload).choices[0].finish_reason;
      expect(finishes).toContain(reason);
    };
    const waiting = completions.map((_, index) => index);
    const worker = async () => {
      for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) await answer(index);
    };
    await Promise.all(Array.from({ length: 64 }, worker));
    expect(server.engine.stats().running).toBe(0);
  }

  function endOf(payload: string): string {
    const frames = framesOf(payload);
    expect(frames.pop()).toBe("[DONE]");
    expect(frames.filter((frame) => "error" in frame)).toEqual([]);
    return frames.at(-1).choices[0].finish_reason;
  }

  const streams = draws(300, 2000);
  it(`row 5: ${streams} streams of random ids end in an answer`, async () => {
    const random = seededRandom(5);
    const below = (count: number) => Math.floor(random() * count);
    const frame = [199999, 200002, 200003, 200005, 200006, 200007, 200008, 200012];
    const words = [
      "assistant",
      "analysis",
      "commentary",
      "final",
      " to=functions.get_weather",
      " json",
      "user",
      " to=",
    ];
    const token = (): number[] => {
      const kind = random();
      if (kind < 0.4) return [frame[below(frame.length)]!];
      if (kind < 0.6) return ids(words[below(words.length)]!);
      if (kind < 0.65) return [firstSpecialToken + below(201_088 - firstSpecialToken)];
      return [below(firstSpecialToken)];
    };
    const length = () => 1 + below(24);
    await survives(Array.from({ length: streams }, () => Array.from({ length: length() }, token).flat()));
  }, 300_000);

  it("row 5: so do the malformed streams of the golden cases", async () => {
    const file = path.resolve(import.meta.dirname, "../golden/harmony/cases/stream.jsonl");
    const cases = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(cases.filter(({ tag }) => tag !== "wellformed").length).toBeGreaterThan(30);
    await survives(cases.map(({ tokens }) => tokens));
  });
});

describe("how an answer ends", () => {
  const thought = "I must ask.";
  const said = "One moment.";
  const args = '{"city":"Bern"}';
  const tokens = ids(analysis(thought) + preamble(said) + call(args));

  /** The answer when it is cut off after each number of tokens. */
  async function cuts(): Promise<Json[]> {
    await using server = await scriptedServer([{ tokens }]);
    const lengths = Array.from({ length: tokens.length }, (_, i) => i + 1);
    return await Promise.all(
      lengths.map(async (max_tokens) => (await chat(server.app, { tools, max_completion_tokens: max_tokens })).body),
    );
  }

  it("row 17: an answer that is cut off anywhere is returned and counted up to there", async () => {
    for (const [i, { choices, usage }] of (await cuts()).entries()) {
      const [{ message, finish_reason }] = choices;
      const isWhole = i === tokens.length - 1;
      expect(finish_reason).toBe(isWhole ? "tool_calls" : "length");
      expect(usage.completion_tokens).toBe(i + 1);
      expect(thought.startsWith(message.reasoning ?? "")).toBe(true);
      expect(said.startsWith(message.content ?? "")).toBe(true);
      expect(JSON.stringify(message)).not.toMatch(controlText);
      if (i < ids(analysis(thought)).length) expect(message.content).toBeNull();
      if (i >= 3) expect(message.reasoning).toBeTruthy();
    }
  });

  it("row 18: a call that is cut off is not finished", async () => {
    const partial = (await cuts()).map(({ choices }) => choices[0]).filter(({ message }) => message.tool_calls);
    expect(partial.length).toBeGreaterThan(2);
    for (const { message, finish_reason } of partial.slice(0, -1)) {
      expect(finish_reason).toBe("length");
      expect(args.startsWith(message.tool_calls[0].function.arguments)).toBe(true);
    }
  });

  it("row 19: stop strings are searched for only in visible text, and across tokens", async () => {
    const stop = ["ONE TWO THREE", "I must"];
    const made = await answer(analysis("I must not say ONE TWO THREE.") + final("Now: ONE TWO THREE and more."), {
      stop,
    });
    expect(made).toMatchObject({ finish_reason: "stop", stop_reason: "ONE TWO THREE" });
    expect(made.message).toMatchObject({ content: "Now: ", reasoning: "I must not say ONE TWO THREE." });
    const shown = await answer(final("Now: ONE TWO THREE and more."), { stop, include_stop_str_in_output: true });
    expect(shown.message.content).toBe("Now: ONE TWO THREE");
    const inCall = await answer(call('{"a":"ONE TWO THREE"}'), { stop, tools });
    expect(inCall.message.tool_calls[0].function.arguments).toBe('{"a":"ONE TWO THREE"}');
    const inPreamble = await answer(preamble("Well, ONE TWO THREE") + call("{}"), { stop, tools });
    expect(inPreamble).toMatchObject({ message: { content: "Well, " }, finish_reason: "stop" });
    // A possible stop string is held back, and released when it does not become one.
    const nearly = await answer(final("ONE TWO FOUR, ONE TWO"), { stop });
    expect(nearly.message.content).toBe("ONE TWO FOUR, ONE TWO");
    for (const frame of made.frames.slice(0, -1)) {
      for (const choice of frame.choices) expect(choice.delta.content ?? "").not.toMatch(/ONE|TWO/);
    }
  });

  it("row 20: logprobs are those of the visible tokens", async () => {
    const cases = [
      analysis("I think.") + final("Héllo 👩‍👩‍👧 wörld"),
      `<|channel|>final Hello there<|return|>`,
      "Hello there<|return|>",
      final("Hello STOP there"),
      final("x STO"),
    ];
    for (const made of await answers(cases, { logprobs: true, top_logprobs: 3, stop: ["STOP"] })) {
      const { content } = made.logprobs;
      expect(Buffer.from(content.flatMap(({ bytes }: Json) => bytes)).toString()).toBe(made.message.content);
      for (const entry of content) {
        for (const { logprob, token, bytes } of [entry, ...entry.top_logprobs]) {
          expect(Number.isFinite(logprob) && logprob <= 0).toBe(true);
          expect(Buffer.from(bytes).toString()).toBe(token);
          expect(token).not.toMatch(controlText);
        }
      }
    }
    const none = await answer(analysis("I think.") + call("{}"), { logprobs: true, tools });
    expect(none.logprobs.content).toEqual([]);
  });

  it("row 21: every sampled id counts, and reasoning among them once", async () => {
    const { usage } = await answer(tokens, { tools });
    expect(usage.completion_tokens).toBe(tokens.length);
    expect(usage.completion_tokens_details.reasoning_tokens).toBe(ids(thought).length);
    expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
    await using server = await scriptedServer([{ tokens }]);
    const body = asking({ tools });
    const { tokens: rendered } = (await post(server.app, "/tokenize", body)).body;
    expect((await chat(server.app, { tools })).body.usage.prompt_tokens).toBe(rendered.length);
    const again = (await chat(server.app, { tools })).body.usage.prompt_tokens_details.cached_tokens;
    expect(again).toBeGreaterThan(0);
    expect(again).toBeLessThan(rendered.length);
  });
});

describe("several choices", () => {
  it("row 15: each choice has a separate parser and separate chunks", async () => {
    const choices = [
      analysis("First I think for a while.") + final("One."),
      final("Two, at once."),
      preamble("Three.") + call('{"n":3}'),
    ];
    const made = await answer({ choices: choices.map(ids) }, { n: 3, tools });
    expect(made.choices.map((choice: Json) => [choice.index, choice.finish_reason])).toEqual([
      [0, "stop"],
      [1, "stop"],
      [2, "tool_calls"],
    ]);
    const [one, two, three] = made.choices.map((choice: Json) => choice.message);
    expect(one).toMatchObject({ reasoning: "First I think for a while.", content: "One." });
    expect(two).toEqual({ role: "assistant", content: "Two, at once.", refusal: null });
    expect(three.content).toBe("Three.");
    expect(three.tool_calls[0].function.arguments).toBe('{"n":3}');
    expect(made.usage.completion_tokens).toBe(choices.flatMap(ids).length);
    // A stop string in one of them leaves the others alone.
    const stopped = await answer({ choices: choices.map(ids) }, { n: 3, tools, stop: ["at once"] });
    expect(stopped.choices.map((choice: Json) => choice.message.content)).toEqual(["One.", "Two, ", "Three."]);
  });
});
