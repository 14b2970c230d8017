import { describe, expect, it } from "vitest";
import { ids, type Json, post, scriptedServer } from "../../support/server.js";

async function answered(url: string, payload: object): Promise<Json> {
  await using server = await scriptedServer([{ tokens: ids("x<|return|>") }]);
  const { status, body } = await post(server.app, url, payload);
  return { status, ...body };
}

describe("/tokenize", () => {
  it("tells the ids of a text, and their texts if asked", async () => {
    expect(await answered("/tokenize", { model: "gpt-oss-20b", prompt: "Hello there" })).toEqual({
      status: 200,
      count: 2,
      max_model_len: 32768,
      tokens: ids("Hello there"),
    });
    const { token_strs } = await answered("/tokenize", { prompt: "Hello there", return_token_strs: true });
    expect(token_strs).toEqual(["Hello", " there"]);
    expect((await answered("/tokenize", { prompt: "" })).count).toBe(0);
  });

  it("reads control tokens only when it is told to", async () => {
    expect((await answered("/tokenize", { prompt: "<|end|>" })).count).toBeGreaterThan(1);
    expect((await answered("/tokenize", { prompt: "<|end|>", parse_special: true })).tokens).toEqual([200007]);
  });

  it("renders a conversation exactly as a chat does", async () => {
    await using server = await scriptedServer([{ tokens: ids("<|channel|>final<|message|>x<|return|>") }]);
    const conversation = {
      model: "gpt-oss-20b",
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hi" },
        { role: "assistant", reasoning: "Hm.", content: "Ho" },
        { role: "user", content: "And?" },
      ],
      tools: [{ type: "function", function: { name: "f" } }],
      response_format: { type: "json_object" },
      reasoning_effort: "high",
    };
    const { body } = await post(server.app, "/tokenize", conversation);
    await post(server.app, "/v1/chat/completions", conversation);
    expect(body.tokens).toEqual([...server.engine.requests[0]!.promptTokens]);
    const open = await post(server.app, "/tokenize", { ...conversation, add_generation_prompt: false });
    expect(open.body.tokens).toEqual(body.tokens.slice(0, -2));
  });

  it("refuses what cannot be meant, and says where", async () => {
    const refused: [object, string][] = [
      [{}, "prompt"],
      [{ prompt: "a", messages: [{ role: "user", content: "Hi" }] }, "prompt"],
      [{ prompt: 7 }, "prompt"],
      [{ messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages[0].content[0].type"],
      [{ messages: [{ role: "user", content: "a" }], continue_final_message: true }, "messages[0].role"],
    ];
    for (const [payload, param] of refused) {
      expect(await answered("/tokenize", payload)).toMatchObject({ status: 400, error: { param } });
    }
    expect((await answered("/tokenize", { model: "x", prompt: "a" })).status).toBe(404);
  });
});

describe("/detokenize", () => {
  it("tells the text of ids, broken characters replaced", async () => {
    expect(await answered("/detokenize", { tokens: ids("Grüezi 🙂<|end|>") })).toEqual({
      status: 200,
      prompt: "Grüezi 🙂<|end|>",
    });
    const [half] = ids("👩‍👩‍👧");
    expect((await answered("/detokenize", { tokens: [half] })).prompt).toContain("\uFFFD");
    expect((await answered("/detokenize", { tokens: [] })).prompt).toBe("");
  });

  it("refuses ids that there are not", async () => {
    for (const tokens of [[201_088], [-1], [1.5], ["1"]]) {
      expect(await answered("/detokenize", { tokens })).toMatchObject({ status: 400, error: { param: "tokens[0]" } });
    }
    expect(await answered("/detokenize", {})).toMatchObject({ status: 400, error: { param: "tokens" } });
  });
});
