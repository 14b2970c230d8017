import { describe, expect, it } from "vitest";
import type { Script } from "../../../lib/testing/index.js";
import { framesOf, ids, type Json, post, scriptedServer } from "../../support/server.js";

const url = "/v1/completions";
const fields = { model: "gpt-oss-20b", prompt: "Once" };

/** The whole answer, which the pieces of the streamed one must add up to. */
async function complete(scripts: readonly Script[], body: object): Promise<Json> {
  await using server = await scriptedServer(scripts);
  const whole = await post(server.app, url, { ...fields, ...body });
  expect(whole.status, JSON.stringify(whole.body)).toBe(200);
  const { prompt } = { ...fields, ...body } as Json;
  const prompts = Array.isArray(prompt) && typeof prompt[0] !== "number" ? prompt.length : 1;
  for (let used = prompts; used % scripts.length !== 0; used++) await server.engine.generate([1]).result;
  const response = await server.app.inject({
    method: "POST",
    url,
    payload: { ...fields, ...body, stream: true, stream_options: { include_usage: true } },
  });
  const frames = framesOf(response.payload);
  expect(frames.pop()).toBe("[DONE]");
  const { choices, usage } = frames.pop();
  expect(choices).toEqual([]);
  expect(usage.completion_tokens).toBe(whole.body.usage.completion_tokens);
  for (const choice of whole.body.choices) {
    const pieces = frames.flatMap((frame: Json) => frame.choices).filter(({ index }: Json) => index === choice.index);
    expect(pieces.map(({ text }: Json) => text).join("")).toBe(choice.text);
    const { finish_reason, stop_reason } = pieces.at(-1);
    expect({ finish_reason, stop_reason }).toEqual({
      finish_reason: choice.finish_reason,
      stop_reason: choice.stop_reason,
    });
    if (choice.logprobs === null) continue;
    for (const key of ["tokens", "token_logprobs", "top_logprobs", "text_offset"]) {
      const told = pieces.flatMap(({ logprobs }: Json) => logprobs?.[key] ?? []);
      // Prefix reuse may change the last bits of a log probability.
      if (key === "tokens" || key === "text_offset") expect(told).toEqual(choice.logprobs[key]);
      else expect(told).toHaveLength(choice.logprobs[key].length);
    }
  }
  return whole.body;
}

const script = (text: string): Script => ({ tokens: ids(text) });

describe("completions", () => {
  it("has the shape of OpenAI's API", async () => {
    const body = await complete([script(" upon a time.<|return|>")], {});
    expect(body).toEqual({
      id: expect.stringMatching(/^cmpl-[0-9a-f]{32}$/),
      object: "text_completion",
      created: Date.parse("2025-06-28T12:00:00Z") / 1000,
      model: "gpt-oss-20b",
      choices: [{ index: 0, text: " upon a time.", logprobs: null, finish_reason: "stop", stop_reason: null }],
      usage: {
        prompt_tokens: 1,
        completion_tokens: 5,
        total_tokens: 6,
        prompt_tokens_details: { cached_tokens: 0, cache_write_tokens: 1 },
        completion_tokens_details: { reasoning_tokens: 0 },
      },
    });
  });

  it("ends after 16 tokens unless it is told otherwise", async () => {
    const endless = { tokens: new Array(100).fill(ids(" and")[0]) };
    const [first] = (await complete([endless], {})).choices;
    expect(first).toMatchObject({ text: " and".repeat(16), finish_reason: "length" });
    const [second] = (await complete([endless], { max_tokens: 3 })).choices;
    expect(second.text).toBe(" and and and");
  });

  it("takes texts and ids, one or many, each with n choices", async () => {
    const scripts = ["a", "b", "c"].map((letter) => ({
      choices: [ids(`${letter}1<|return|>`), ids(`${letter}2<|return|>`)],
    }));
    const { choices, usage } = await complete(scripts, { prompt: ["One", "Two", "Three"], n: 2 });
    expect(choices.map(({ index, text }: Json) => `${index}${text}`)).toEqual([
      "0a1",
      "1a2",
      "2b1",
      "3b2",
      "4c1",
      "5c2",
    ]);
    expect(usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 18 });
    const tokens = ids("Once upon");
    for (const prompt of [tokens, [tokens]]) {
      await using server = await scriptedServer([script("x<|return|>")]);
      await post(server.app, url, { ...fields, prompt });
      expect([...server.engine.requests[0]!.promptTokens]).toEqual(tokens);
    }
  });

  it("reads control tokens in a prompt only when it is told to", async () => {
    await using server = await scriptedServer([script("x<|return|>")]);
    await post(server.app, url, { ...fields, prompt: "<|start|>" });
    await post(server.app, url, { ...fields, prompt: "<|start|>", parse_special: true });
    const [plain, special] = server.engine.requests.map(({ promptTokens }) => [...promptTokens]);
    expect(plain).toEqual([27, 91, 5236, 91, 29]);
    expect(special).toEqual([200006]);
  });

  it("leaves control tokens out of the text unless they are asked for", async () => {
    const written = [script("a<|message|>b<|return|>")];
    expect((await complete(written, {})).choices[0].text).toBe("ab");
    expect((await complete(written, { skip_special_tokens: false })).choices[0].text).toBe("a<|message|>b");
  });

  it("stops at stop strings and stop tokens, and tells at which", async () => {
    const written = [script("One two three four<|return|>")];
    const [cut] = (await complete(written, { stop: ["wo th"] })).choices;
    expect(cut).toMatchObject({ text: "One t", finish_reason: "stop", stop_reason: "wo th" });
    const [shown] = (await complete(written, { stop: "wo th", include_stop_str_in_output: true })).choices;
    expect(shown.text).toBe("One two th");
    const [three] = ids(" three");
    const [ended] = (await complete(written, { stop_token_ids: [three] })).choices;
    expect(ended).toMatchObject({ text: "One two", stop_reason: three });
    const [whole] = (await complete([script("a<|return|>b")], { ignore_eos: true })).choices;
    expect(whole).toMatchObject({ text: "ab", finish_reason: "stop", stop_reason: null });
  });

  it("stops one choice at its stop string, and not the others", async () => {
    const choices = [ids("One STOP two<|return|>"), ids("Three four five six seven<|return|>")];
    const body = await complete([{ choices }], { n: 2, stop: "STOP" });
    expect(body.choices.map(({ text }: Json) => text)).toEqual(["One ", "Three four five six seven"]);
  });

  it("repeats the prompt when it is asked to", async () => {
    const [choice] = (await complete([script(" upon<|return|>")], { echo: true })).choices;
    expect(choice.text).toBe("Once upon");
  });

  it("tells log probabilities of the tokens of the text, with their places in it", async () => {
    const { choices } = await complete([script("Hi 👩‍👩‍👧 you<|return|>")], { logprobs: 2 });
    const [{ text, logprobs }] = choices;
    expect(text).toBe("Hi 👩‍👩‍👧 you");
    expect(logprobs.tokens).toHaveLength(ids(text).length);
    expect(logprobs.text_offset[0]).toBe(0);
    expect(text.slice(logprobs.text_offset.at(-1))).toBe(" you");
    for (const [i, top] of logprobs.top_logprobs.entries()) {
      expect(top[logprobs.tokens[i]]).toBe(logprobs.token_logprobs[i]);
      expect(Object.keys(top).length).toBeGreaterThanOrEqual(1);
    }
    const named = await complete([script("Hi<|return|>")], { logprobs: 0, return_tokens_as_token_ids: true });
    expect(named.choices[0].logprobs.tokens).toEqual(ids("Hi").map((id) => `token_id:${id}`));
  });

  it("gives the engine a constraint for a format", async () => {
    await using server = await scriptedServer([script("x<|return|>")]);
    await post(server.app, url, { ...fields, guided_regex: "x+" });
    await post(server.app, url, fields);
    expect(server.engine.requests.map(({ options }) => options.constraint)).toEqual([
      { kind: "text", format: { type: "regex", pattern: "x+" } },
      undefined,
    ]);
  });

  it("refuses what cannot be meant, and says where", async () => {
    const refused: [object, string, string?][] = [
      [{ prompt: undefined }, "prompt"],
      [{ prompt: "" }, "prompt"],
      [{ prompt: [] }, "prompt"],
      [{ prompt: ["a", ""] }, "prompt[1]"],
      [{ prompt: [1, -1] }, "prompt[1]"],
      [{ prompt: [[1], [201_088]] }, "prompt[1][0]"],
      [{ prompt: { text: "a" } }, "prompt"],
      [{ suffix: "end" }, "suffix", "unsupported_parameter"],
      [{ best_of: 3 }, "best_of", "unsupported_parameter"],
      [{ prompt_logprobs: 1, stream: true }, "prompt_logprobs", "unsupported_parameter"],
      [{ prompt_logprobs: 21 }, "prompt_logprobs"],
      [{ prompt_logprobs: -1 }, "prompt_logprobs"],
      [{ max_tokens: 0 }, "max_tokens"],
      [{ max_tokens: 0, logprobs: 1 }, "max_tokens"],
      [{ logprobs: 21 }, "logprobs"],
      [{ max_tokens: 10 ** 6 }, "max_tokens", "context_length_exceeded"],
    ];
    await using server = await scriptedServer([script("x<|return|>")]);
    for (const [extra, param, code = "invalid_value"] of refused) {
      const { status, body } = await post(server.app, url, { ...fields, ...extra });
      expect([extra, status, body.error?.param, body.error?.code]).toEqual([extra, 400, param, code]);
    }
    expect((await post(server.app, url, { ...fields, model: "x" })).status).toBe(404);
    expect(server.engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  it("frees what it had begun when a later prompt of the batch is refused", async () => {
    const endless = { tokens: new Array(20_000).fill(ids(" and")[0]) };
    await using server = await scriptedServer([endless], { contextLength: 20_500 });
    const tooLong = new Array(20_500).fill(1);
    const { status } = await post(server.app, url, { ...fields, prompt: [[1], tooLong], max_tokens: 20_000 });
    expect(status).toBe(400);
    while (server.engine.stats().running + server.engine.stats().waiting > 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  });
});
