import { describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { createServer } from "../../../lib/server/index.js";
import { assembled, chat, ids, post, scriptedServer, stream } from "../../support/server.js";

/** A chat with `ignore_eos` goes on until its limit. */

const and = ids(" and")[0]!;
const said = "<|channel|>final<|message|>Yes.";

describe("ignore_eos", () => {
  it.each([
    ["ends its turn", `${said}<|return|>`],
    ["plays somebody else", `${said}<|end|><|start|>user<|message|>And now?<|end|>`],
    ["calls a tool", "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"],
  ])("goes on where the model %s", async (_, text) => {
    const tokens = [...ids(`${text}<|start|>assistant<|channel|>final<|message|>`), ...Array(200).fill(and)];
    await using server = await scriptedServer([{ tokens }]);
    const fields = { ignore_eos: true, max_tokens: 60, tools: [{ type: "function", function: { name: "f" } }] };
    const { body } = await chat(server.app, fields);
    expect([body.choices[0].finish_reason, body.usage.completion_tokens]).toEqual(["length", 60]);
    expect(body.choices[0].message.content).toMatch(/( and){20,}$/);
    expect(body.choices[0].message.content).not.toContain("now");
    const streamed = assembled((await stream(server.app, fields)).slice(0, -1));
    expect([streamed.finish_reason, streamed.message.content]).toEqual(["length", body.choices[0].message.content]);
  });

  it("ends at the tokens and texts that the request names", async () => {
    const tokens = [...ids(`${said} STOP`), ...Array(50).fill(and)];
    await using server = await scriptedServer([{ tokens }]);
    const asked = { ignore_eos: true, max_tokens: 40 };
    const byText = (await chat(server.app, { ...asked, stop: "STOP" })).body.choices[0];
    expect(byText).toMatchObject({ finish_reason: "stop", stop_reason: "STOP", message: { content: "Yes. " } });
    const byToken = (await chat(server.app, { ...asked, stop_token_ids: [and] })).body.choices[0];
    expect(byToken).toMatchObject({ finish_reason: "stop", stop_reason: and });
  });

  it.each([
    [{ response_format: { type: "json_object" } }],
    [{ guided_regex: "a" }],
    [{ reasoning: { max_tokens: 3 } }],
    [{ reasoning_effort: "none" }],
    [{ tools: [{ type: "function", function: { name: "f" } }], tool_choice: "required" }],
    [{ functions: [{ name: "f" }], function_call: { name: "f" } }],
  ])("is refused beside %j, which needs an end", async (fields) => {
    await using server = await scriptedServer([{ tokens: [and] }]);
    const { status, body } = await chat(server.app, { ...fields, ignore_eos: true });
    expect([status, body.error.param, body.error.code]).toEqual([400, "ignore_eos", "unsupported_parameter"]);
  });

  it.each(["synthetic:wide", "demo"])("holds for a real model: %s", async (model) => {
    await using engine = await Engine.load(model, { backend: "cpu", threads: 1, contextLength: 1024 });
    const app = await createServer({ engine, modelName: "gpt-oss-20b" });
    const user = { role: "user", content: "What is 7 + 8?" };
    for (const seed of [1, 2, 3]) {
      const body = { model: "gpt-oss-20b", messages: [user], ignore_eos: true, max_tokens: 80, seed };
      const answer = await post(app, "/v1/chat/completions", body);
      const [choice] = answer.body.choices;
      expect([choice.finish_reason, answer.body.usage.completion_tokens]).toEqual(["length", 80]);
    }
    await app.close();
  });
});
