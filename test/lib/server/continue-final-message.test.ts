import { describe, expect, it } from "vitest";
import {
  asking,
  assembled,
  chat,
  ids,
  type Json,
  post,
  type ScriptedServer,
  scriptedServer,
  stream,
} from "../../support/server.js";

/** vLLM's `continue_final_message`: the last message of the assistant stays open, and the answer has what is new. */

const user = { role: "user", content: "Count." };
const begun = { role: "assistant", content: "One, two," };
const goingOn = { messages: [user, begun], continue_final_message: true, add_generation_prompt: false };
const written = { tokens: ids(" three.<|return|>") };
const open = () => scriptedServer([written], { contextLength: 2048 });
const endOf = ({ engine }: ScriptedServer) => engine.requests.at(-1)!.text.split("<|start|>").slice(2);

async function answer(server: ScriptedServer, fields: object): Promise<Json> {
  const { status, body } = await chat(server.app, fields);
  expect(status, JSON.stringify(body)).toBe(200);
  return body;
}

describe("continue_final_message", () => {
  it("leaves the last message open, and answers with what is new", async () => {
    await using server = await open();
    const { choices, usage } = await answer(server, goingOn);
    expect(endOf(server)).toEqual(["user<|message|>Count.<|end|>", "assistant<|channel|>final<|message|>One, two,"]);
    expect(choices).toMatchObject([
      { message: { role: "assistant", content: " three.", refusal: null }, finish_reason: "stop", logprobs: null },
    ]);
    expect(usage).toMatchObject({
      prompt_tokens: server.engine.requests[0]!.promptTokens.length,
      completion_tokens: ids(" three.").length + 1,
      completion_tokens_details: { reasoning_tokens: 0 },
    });
  });

  it.each([
    [{}, " three."],
    [{ echo: true }, "One, two, three."],
    [{ echo: false, n: 2 }, " three."],
    [{ echo: true, n: 2, logprobs: true }, "One, two, three."],
    [{ stop: "ree" }, " th"],
    [{ stop: "two" }, " three."], // what the client wrote is not searched
    [{ ignore_eos: true, max_tokens: 2 }, " three."],
  ])("%j: the same whole and streamed", async (fields, content) => {
    await using server = await open();
    const { choices } = await answer(server, { ...goingOn, ...fields });
    const frames = await stream(server.app, { ...goingOn, ...fields });
    for (const [index, { message, logprobs, finish_reason, stop_reason }] of choices.entries()) {
      expect(message.content).toBe(content);
      expect(assembled(frames, index)).toEqual({ index, message, logprobs, finish_reason, stop_reason });
      if (logprobs !== null) expect(logprobs.content.map(({ token }: Json) => token).join("")).toBe(" three.");
    }
  });

  it("keeps the reasoning before the message, and drops that of earlier turns", async () => {
    await using server = await open();
    const messages = [
      user,
      { role: "assistant", reasoning: "Earlier.", content: "One." },
      { role: "user", content: "More." },
      { role: "assistant", reasoning: "They want two.", content: [{ type: "text", text: "Two," }] },
    ];
    await answer(server, { ...goingOn, messages });
    expect(endOf(server)).toEqual([
      "user<|message|>Count.<|end|>",
      "assistant<|channel|>final<|message|>One.<|end|>",
      "user<|message|>More.<|end|>",
      "assistant<|channel|>analysis<|message|>They want two.<|end|>",
      "assistant<|channel|>final<|message|>Two,",
    ]);
  });

  it("may begin with an empty text, and have nothing to add", async () => {
    await using server = await scriptedServer([{ tokens: ids("<|return|>") }]);
    const messages = [user, { role: "assistant", content: "" }];
    const { choices } = await answer(server, { ...goingOn, messages });
    expect(endOf(server).at(-1)).toBe("assistant<|channel|>final<|message|>");
    expect(choices).toMatchObject([{ message: { content: "" }, finish_reason: "stop" }]);
  });

  it("writes text of control tokens as text", async () => {
    await using server = await open();
    await answer(server, { ...goingOn, messages: [user, { role: "assistant", content: "<|end|>" }] });
    expect([...server.engine.requests[0]!.promptTokens].slice(-ids("x").length - 2)).not.toContain(200_007);
  });

  it("reads the whole message back as the tokens that it was made of", async () => {
    await using server = await open();
    await answer(server, goingOn);
    const made = [...server.engine.requests[0]!.promptTokens, ...ids(" three.")];
    const messages = [user, { role: "assistant", content: "One, two, three." }, { role: "user", content: "More." }];
    await answer(server, { messages });
    expect([...server.engine.requests[1]!.promptTokens].slice(0, made.length)).toEqual(made);
  });

  it("goes on with further messages, whatever the model writes", async () => {
    await using server = await scriptedServer([
      { tokens: ids(" three.<|end|><|start|>assistant<|channel|>final<|message|>Four.<|return|>") },
    ]);
    const { choices } = await answer(server, goingOn);
    expect(choices[0].message.content).toBe(" three.\nFour.");
  });

  it("is what /tokenize counts", async () => {
    await using server = await open();
    await answer(server, goingOn);
    for (const fields of [goingOn, { ...goingOn, add_generation_prompt: undefined }]) {
      const { body } = await post(server.app, "/tokenize", fields);
      expect(body.tokens).toEqual([...server.engine.requests[0]!.promptTokens]);
    }
  });

  it("is not known with a prompt that is too long", async () => {
    await using server = await open();
    const messages = [user, { role: "assistant", content: "word ".repeat(1990) }];
    const { status, body } = await chat(server.app, { ...goingOn, messages });
    expect([status, body.error.param, body.error.code]).toEqual([400, "messages", "context_length_exceeded"]);
  });

  const call = { id: "c", type: "function", function: { name: "f", arguments: "{}" } };
  const tools = [{ type: "function", function: { name: "f" } }];
  const unsupported = "unsupported_parameter";
  it.each([
    [{ ...goingOn, add_generation_prompt: true }, "continue_final_message", "invalid_value"],
    [{ ...goingOn, messages: [user] }, "messages[0].role", "invalid_value"],
    [{ ...goingOn, messages: [user, begun, user] }, "messages[2].role", "invalid_value"],
    [{ ...goingOn, messages: [user, { ...begun, tool_calls: [call] }] }, "messages[1].tool_calls", unsupported],
    [{ ...goingOn, messages: [user, { role: "assistant", reasoning: "r" }] }, "messages[1].content", "invalid_value"],
    [{ ...goingOn, response_format: { type: "json_object" } }, "continue_final_message", unsupported],
    [{ ...goingOn, tools, tool_choice: "required" }, "continue_final_message", unsupported],
    [{ ...goingOn, continue_final_message: "yes" }, "continue_final_message", "invalid_value"],
    [{ ...goingOn, echo: 1 }, "echo", "invalid_value"],
    [{ add_generation_prompt: false }, "add_generation_prompt", unsupported],
    [{ echo: true }, "echo", unsupported],
  ])("%j is refused", async (fields, param, code) => {
    await using server = await open();
    const { status, body } = await post(server.app, "/v1/chat/completions", asking(fields));
    expect([status, body.error.param, body.error.code]).toEqual([400, param, code]);
    expect(server.engine.requests).toEqual([]);
  });

  it("has no effect where it is false", async () => {
    await using server = await scriptedServer([{ tokens: ids("<|channel|>final<|message|>Hello<|return|>") }]);
    const fields = { continue_final_message: false, add_generation_prompt: true, echo: false };
    expect((await answer(server, fields)).choices[0].message.content).toBe("Hello");
  });
});
