import { describe, expect, it } from "vitest";
import { type ChatConversationOptions, type ChatMessage, chatConversation } from "../../../lib/chat/messages.js";
import { type FunctionTool, type Message, renderConversationForCompletion } from "../../../lib/harmony/index.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { recorded } from "../../support/recorded.js";

function prompt(messages: unknown, options: ChatConversationOptions = {}): Uint32Array {
  const conversation = chatConversation(messages as ChatMessage[], { currentDate: null, ...options });
  return renderConversationForCompletion(conversation, "assistant", { autoDropAnalysis: "past" });
}

/** The prompt's text after the system message, without the opening of the answer. */
function turns(messages: unknown, options: ChatConversationOptions = {}): string {
  const text = tokenizer.decode(prompt(messages, options));
  return text.slice(text.indexOf("<|end|>") + "<|end|>".length, -"<|start|>assistant".length);
}

const user = { role: "user", content: "Hi" };
const userText = "<|start|>user<|message|>Hi<|end|>";
const weather: FunctionTool = {
  type: "function",
  function: { name: "f", description: "D", parameters: { type: "object", properties: { a: { type: "integer" } } } },
};

describe("prompts of the demo model", () => {
  it.each(recorded.map((row) => [row.id, row] as const))("%s", (_, row) => {
    const options: ChatConversationOptions = {
      reasoningEffort: row.reasoning_effort,
      currentDate: row.current_date,
      tools: row.tools,
    };
    expect([...prompt(row.messages, options)]).toEqual(row.prompt_ids);
  });
});

describe("the system message", () => {
  it("has the defaults of the model's training, and today in UTC", () => {
    const today = new Date().toISOString().slice(0, 10);
    const text = tokenizer.decode(renderConversationForCompletion(chatConversation([user] as ChatMessage[])));
    expect(text).toBe(
      "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n" +
        `Knowledge cutoff: 2024-06\nCurrent date: ${today}\n\nReasoning: medium\n\n` +
        "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>" +
        `${userText}<|start|>assistant`,
    );
  });

  it("takes every field from the options", () => {
    const options: ChatConversationOptions = {
      reasoningEffort: "high",
      currentDate: new Date("2025-03-01T23:59:59Z"),
      modelIdentity: "You are Ada.",
      knowledgeCutoff: "1843-10",
    };
    const text = tokenizer.decode(prompt([user], options));
    expect(text).toContain("You are Ada.\nKnowledge cutoff: 1843-10\nCurrent date: 2025-03-01\n\nReasoning: high\n");
  });

  it("may come as system_content, changed only where an option is given", () => {
    const own = { role: "system", content: [{ type: "system_content", model_identity: "I", reasoning_effort: "Low" }] };
    expect(tokenizer.decode(prompt([own, user], { reasoningEffort: "high" }))).toBe(
      `<|start|>system<|message|>I\n\nReasoning: high<|end|>${userText}<|start|>assistant`,
    );
    expect(() => prompt([user, own])).toThrow(/system_content only in the first message/);
    expect(() => prompt([own, own])).toThrow(/system_content only in the first message/);
  });
});

describe("instructions", () => {
  it("of leading system and developer messages are one developer message, with the tools", () => {
    const messages = [
      { role: "system", content: "A" },
      { role: "developer", content: [{ type: "text", text: "B" }] },
      user,
    ];
    expect(turns(messages, { developerInstructions: "0", tools: [weather] })).toBe(
      "<|start|>developer<|message|># Instructions\n\n0\n\nA\n\nB\n\n# Tools\n\n## functions\n\nnamespace functions {\n\n" +
        `// D\ntype f = (_: {\na?: number,\n}) => any;\n\n} // namespace functions<|end|>${userText}`,
    );
  });

  it("in later messages stay in their place", () => {
    expect(turns([user, { role: "system", content: "A" }, user])).toBe(
      `${userText}<|start|>developer<|message|># Instructions\n\nA<|end|>${userText}`,
    );
  });

  it("of a developer_content are merged with the options", () => {
    const tool = { name: "g", description: "" };
    const content = [
      { type: "developer_content", instructions: "B", tools: { functions: { name: "functions", tools: [tool] } } },
    ];
    const text = turns([{ role: "developer", content }, user], { developerInstructions: "A", tools: [weather] });
    expect(text).toContain("# Instructions\n\nA\n\nB\n\n# Tools");
    expect(text).toContain("type f = (_: {");
    expect(text).toContain("type g = () => any;");
  });

  it("are absent when there are none", () => {
    expect(turns([user], { tools: [] })).toBe(userText);
  });
});

const call = "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>";

describe("assistant and tool messages", () => {
  it("give analysis, preamble, calls and result in this order", () => {
    const messages = [
      user,
      {
        role: "assistant",
        reasoning_content: "R",
        content: "P",
        tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: '{"a": 1}' } }],
      },
      {
        role: "tool",
        tool_call_id: "1",
        content: [
          { type: "text", text: "x" },
          { type: "text", text: "y" },
        ],
      },
    ];
    expect(turns(messages)).toBe(
      `${userText}<|start|>assistant<|channel|>analysis<|message|>R<|end|>` +
        `<|start|>assistant<|channel|>commentary<|message|>P<|end|>${call}{"a": 1}<|call|>` +
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>xy<|end|>",
    );
  });

  it("take flat calls and object arguments, and results by name", () => {
    const messages = [
      { role: "assistant", tool_calls: [{ name: "f", arguments: { b: [1], a: "é" } }] },
      { role: "tool", name: "f", content: "ok" },
    ];
    expect(turns(messages)).toBe(
      `${call}{"b":[1],"a":"é"}<|call|><|start|>functions.f to=assistant<|channel|>commentary<|message|>ok<|end|>`,
    );
  });

  it("drop analysis before the last final answer only", () => {
    const messages = [
      { role: "assistant", reasoning: "1", content: "a" },
      user,
      { role: "assistant", thinking: "2", content: "b" },
      user,
      { role: "assistant", reasoning: "3", tool_calls: [{ name: "f", arguments: "{}" }] },
      { role: "tool", name: "f", content: "" },
    ];
    const text = turns(messages);
    expect(text.match(/analysis<\|message\|>\d/g)).toEqual(["analysis<|message|>3"]);
    expect(text.match(/final<\|message\|>./g)).toEqual(["final<|message|>a", "final<|message|>b"]);
  });

  it("may be harmony messages, whose calls are answered by id or name", () => {
    const answer: Message[] = [
      { role: "assistant", channel: "analysis", content: [{ type: "text", text: "T" }] },
      {
        role: "assistant",
        channel: "commentary",
        recipient: "functions.f",
        content: "{}",
        content_type: "json",
        id: "c1",
      },
    ];
    const text =
      "<|start|>assistant<|channel|>analysis<|message|>T<|end|>" +
      "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|call|>" +
      "<|start|>functions.f to=assistant<|channel|>commentary<|message|>r<|end|>";
    expect(turns([...answer, { role: "tool", tool_call_id: "c1", content: "r" }])).toBe(text);
    expect(turns([...answer, { role: "tool", name: "functions.f", content: "r" }])).toBe(text);
    const result = { role: "tool", name: "functions.f", recipient: "assistant", channel: "commentary", content: "r" };
    expect(turns([...answer, result])).toBe(text);
  });

  it("keep the name of a user and the words of a refusal", () => {
    expect(turns([{ ...user, name: "ada" }])).toBe("<|start|>user:ada<|message|>Hi<|end|>");
    const refusal = "<|start|>assistant<|channel|>final<|message|>No.<|end|>";
    expect(turns([{ role: "assistant", content: null, refusal: "No." }])).toBe(refusal);
    expect(turns([{ role: "assistant", content: [{ type: "refusal", refusal: "No." }] }])).toBe(refusal);
  });
});

describe("refusals name the message and the field", () => {
  const cases: [unknown, ChatConversationOptions, RegExp][] = [
    ["Hi", {}, /an array of messages for messages/],
    [[null], {}, /messages\[0\] but received null/],
    [[{ role: "bot", content: "" }], {}, /messages\[0\]\.role but received "bot"/],
    [[{ role: "user" }], {}, /messages\[0\]\.content but received undefined/],
    [[user, { role: "user", content: [{ type: "image_url" }] }], {}, /no images.*messages\[1\]\.content\[0\]\.type/],
    [[{ role: "assistant" }], {}, /text, reasoning or tool_calls/],
    [[{ role: "assistant", content: 5 }], {}, /messages\[0\]\.content but received 5/],
    [[{ role: "assistant", tool_calls: {} }], {}, /messages\[0\]\.tool_calls/],
    [[{ role: "assistant", tool_calls: [{ name: "a b" }] }], {}, /tool_calls\[0\]\.name but received "a b"/],
    [[{ role: "assistant", tool_calls: [{ type: "custom" }] }], {}, /tool_calls\[0\]\.type/],
    [[{ role: "assistant", tool_calls: [{ name: "f", arguments: 1 }] }], {}, /tool_calls\[0\]\.arguments/],
    [[{ role: "tool", tool_call_id: "x", content: "" }], {}, /tool_call_id but received "x"/],
    [[{ role: "tool", content: "" }], {}, /messages\[0\]\.name \(there is no tool_call_id\)/],
    [[user], { reasoningEffort: "max" as "high" }, /reasoningEffort/],
    [[user], { currentDate: "March" }, /currentDate/],
    [[user], { currentDate: new Date(Number.NaN) }, /currentDate/],
    [[user], { developerInstructions: 1 as unknown as string }, /developerInstructions/],
    [[user], { tools: [{ type: "web_search" }] as unknown as FunctionTool[] }, /tools\[0\]\.type/],
    [[user], { tools: [weather, weather] }, /a name used once for tools\[1\]\.function\.name/],
    [
      [user],
      { tools: [{ type: "function", function: { name: "f", parameters: 1 } }] },
      /tools\[0\]\.function\.parameters/,
    ],
  ];
  it.each(cases)("%j %j", (messages, options, expected) => {
    expect(() => prompt(messages, options)).toThrow(expected);
    expect(() => prompt(messages, options)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
