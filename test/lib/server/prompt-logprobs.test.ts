import { describe, expect, it } from "vitest";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { chat, framesOf, ids, type Json, post, type ScriptedServer, scriptedServer } from "../../support/server.js";

/** Log probabilities of prompts. lib/generation/prompt-logprobs.test.ts compares those of the engine with the oracle. */

const url = "/v1/completions";
const prompt = "Hi 👩‍👩‍👧 you";
const fields = { model: "gpt-oss-20b", prompt };
const written = { tokens: ids(" and me<|return|>") };
const open = () => scriptedServer([written], { contextLength: 2048 });

async function complete(server: ScriptedServer, body: object): Promise<Json> {
  const answer = await post(server.app, url, { ...fields, ...body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body;
}

describe("echo with logprobs", () => {
  it("has those of the prompt before those of the completion", async () => {
    await using server = await open();
    const right = await server.engine.promptLogprobs(prompt, { logprobs: 2 });
    const [{ text, logprobs }] = (await complete(server, { echo: true, logprobs: 2 })).choices;
    expect(text).toBe(`${prompt} and me`);
    const all = [...ids(prompt), ...ids(" and me")];
    for (const list of Object.values(logprobs)) expect(list).toHaveLength(all.length);
    expect([logprobs.token_logprobs[0], logprobs.top_logprobs[0], logprobs.text_offset[0]]).toEqual([null, null, 0]);
    for (let at = 1; at < right.length; at++) {
      const { logprob, top } = right.at(at)!;
      expect(logprobs.token_logprobs[at]).toBe(logprob);
      const shown = Object.values(logprobs.top_logprobs[at]);
      for (const likely of top.filter(({ token }) => token < 199_998)) expect(shown).toContain(likely.logprob);
    }
    expect(logprobs.token_logprobs.slice(right.length).every((one: unknown) => typeof one === "number")).toBe(true);
    expect(text.slice(logprobs.text_offset[right.length])).toBe(" and me");
    expect(text.slice(logprobs.text_offset[right.length - 1])).toBe(" you and me");
  });

  it("has the names of ids, and only the tokens themselves with 0", async () => {
    await using server = await open();
    const asked = { echo: true, logprobs: 0, return_tokens_as_token_ids: true };
    const [{ logprobs }] = (await complete(server, asked)).choices;
    const names = [...ids(prompt), ...ids(" and me")].map((id) => `token_id:${id}`);
    expect(logprobs.tokens).toEqual(names);
    expect(logprobs.top_logprobs.slice(1).map((top: object) => Object.keys(top))).toEqual(
      names.slice(1).map((name) => [name]),
    );
  });

  it("is the same for several prompts and choices, whole and streamed", async () => {
    await using server = await open();
    const body = { prompt: ["One two", prompt], n: 2, echo: true, logprobs: 1 };
    const { choices } = await complete(server, body);
    expect(choices.map(({ text }: Json) => text)).toEqual(
      ["One two", "One two", prompt, prompt].map((text) => `${text} and me`),
    );
    expect(choices[1].logprobs).toEqual(choices[0].logprobs);
    const payload = { ...fields, ...body, stream: true };
    const frames = framesOf((await server.app.inject({ method: "POST", url, payload })).payload);
    const streamed = choices.map(() => ({ text: "", logprobs: {} as Record<string, unknown[]> }));
    for (const { index, text, logprobs } of frames.flatMap((frame) => frame.choices ?? [])) {
      streamed[index]!.text += text;
      for (const [name, list] of Object.entries(logprobs ?? {})) {
        const before = streamed[index]!.logprobs[name] ?? [];
        streamed[index]!.logprobs[name] = [...before, ...(list as unknown[])];
      }
    }
    expect(streamed).toEqual(choices.map(({ text, logprobs }: Json) => ({ text, logprobs })));
  });

  it("works without a completion, for evaluations", async () => {
    await using server = await open();
    const body = await complete(server, { echo: true, logprobs: 1, max_tokens: 0 });
    const { logprobs } = (await complete(server, { echo: true, logprobs: 1 })).choices[0];
    const { length } = ids(prompt);
    expect(body.choices).toEqual([
      {
        index: 0,
        text: prompt,
        logprobs: Object.fromEntries(
          Object.entries(logprobs).map(([name, list]) => [name, (list as unknown[]).slice(0, length)]),
        ),
        finish_reason: "length",
        stop_reason: null,
      },
    ]);
    expect(body.usage).toMatchObject({ prompt_tokens: length, completion_tokens: 0, total_tokens: length });
    expect(server.engine.requests).toHaveLength(1);
    const payload = { ...fields, echo: true, max_tokens: 0, stream: true };
    const frames = framesOf((await server.app.inject({ method: "POST", url, payload })).payload);
    expect(frames.flatMap((frame) => frame.choices ?? []).map(({ text }: Json) => text)).toEqual([prompt, ""]);
    expect(frames.at(-1)).toBe("[DONE]");
  });

  it("counts against the tokens of a client", async () => {
    const limited = { server: { tokensPerMinute: 100 }, contextLength: 2048 };
    await using server = await scriptedServer([written], limited);
    const body = { ...fields, prompt: "word ".repeat(60), echo: true, logprobs: 1, max_tokens: 0 };
    const statuses = [await post(server.app, url, body), await post(server.app, url, body)];
    expect(statuses.map(({ status }) => status)).toEqual([200, 429]);
  });
});

describe("prompt_logprobs", () => {
  it("has the tokens of each place by their ids, as vLLM writes them", async () => {
    await using server = await open();
    const right = [...(await server.engine.promptLogprobs(prompt, { logprobs: 3 }))];
    const { choices } = await complete(server, { prompt_logprobs: 3, n: 2 });
    for (const { text, prompt_logprobs: told } of choices) {
      expect(text).toBe(" and me");
      expect(told).toHaveLength(right.length);
      expect(told[0]).toBeNull();
      for (const [at, entry] of right.entries()) {
        if (entry === null) continue;
        const { token, logprob, top } = entry;
        const rank = top.findIndex((likely) => likely.token === token) + 1 || null;
        expect(told[at][token]).toEqual({ logprob, rank, decoded_token: tokenizer.decode([token]) });
        for (const [i, likely] of top.entries()) {
          expect(told[at][likely.token]).toMatchObject({ logprob: likely.logprob, rank: i + 1 });
        }
        expect(Object.keys(told[at])).toHaveLength(rank === null ? 4 : 3);
      }
    }
  });

  it("is beside the choices of a chat", async () => {
    await using server = await scriptedServer([{ tokens: ids("<|channel|>final<|message|>Hello<|return|>") }]);
    const { status, body } = await chat(server.app, { prompt_logprobs: 0, n: 2 });
    expect(status).toBe(200);
    const { promptTokens } = server.engine.requests[0]!;
    const right = await server.engine.promptLogprobs(promptTokens);
    expect(body.prompt_logprobs).toEqual(
      [...right].map((entry) => {
        if (entry === null) return null;
        const decoded_token = tokenizer.decode([entry.token]);
        return { [entry.token]: { logprob: entry.logprob, rank: null, decoded_token } };
      }),
    );
    expect((await chat(server.app)).body).not.toHaveProperty("prompt_logprobs");
  });

  it("computes the whole prompt, which no cache then counts", async () => {
    await using server = await open();
    const long = { prompt: "word ".repeat(200) };
    const details = async (body: object) => (await complete(server, { ...long, ...body })).usage.prompt_tokens_details;
    const first = await details({});
    expect(first.cached_tokens).toBe(0);
    expect((await details({})).cached_tokens).toBeGreaterThan(100);
    expect(await details({ prompt_logprobs: 1 })).toEqual(first);
    const messages = [{ role: "user", content: long.prompt }];
    const cached = async (body: object) =>
      (await chat(server.app, { messages, ...body })).body.usage.prompt_tokens_details.cached_tokens;
    expect(await cached({})).toBe(0);
    expect(await cached({})).toBeGreaterThan(100);
    expect(await cached({ prompt_logprobs: 1 })).toBe(0);
  });

  it("is refused for more tokens than fit into an answer, before any is computed", async () => {
    await using server = await open();
    const many = Array.from({ length: 128 }, () => new Array(1700).fill(1));
    const asked = { ...fields, prompt: many, max_tokens: 1 };
    for (const [extra, param] of [
      [{ prompt: many.slice(0, 64), prompt_logprobs: 20, n: 2, max_tokens: 0, echo: true }, "prompt_logprobs"],
      [{ prompt_logprobs: 20 }, "prompt_logprobs"],
      [{ echo: true, logprobs: 20 }, "echo"],
    ] as const) {
      const { status, body } = await post(server.app, url, { ...asked, ...extra });
      expect([status, body.error.param, body.error.code]).toEqual([400, param, "invalid_value"]);
      expect(body.error.message).toContain("at most 199728 prompt tokens");
    }
    expect(server.engine.stats().steps).toBe(0);
  });
});
