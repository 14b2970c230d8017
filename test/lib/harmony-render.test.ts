import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type Conversation,
  type Message,
  type Role,
  renderConversation,
  renderConversationForCompletion,
  renderConversationForTraining,
  renderMessage,
} from "../../lib/harmony/index.js";
import { formatTokens } from "../../lib/harmony/tokens.js";
import { firstSpecialToken } from "../../lib/tokenizer/special-tokens.js";
import { tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { seededRandom } from "../support/random.js";

const golden = new URL("../golden/harmony/", import.meta.url);

function lines(file: string): string[] {
  return readFileSync(new URL(file, golden), "utf8").trimEnd().split("\n");
}

interface RenderCase {
  id?: string;
  name?: string;
  kind?: string;
  file?: string;
  mode: "conversation" | "completion" | "training";
  next_role: Role;
  auto_drop_analysis: boolean;
  conversation: Conversation;
  ids?: number[];
  text?: string;
  error?: string;
}

function render(row: RenderCase, conversation = row.conversation): number[] {
  const options = { autoDropAnalysis: row.auto_drop_analysis };
  switch (row.mode) {
    case "conversation":
      return [...renderConversation(conversation, options)];
    case "completion":
      return [...renderConversationForCompletion(conversation, row.next_role, options)];
    case "training":
      return [...renderConversationForTraining(conversation, options)];
  }
}

/** The text of the first JSON value that follows `"conversation":` in a line, braces counted outside strings. */
function rawConversation(line: string): string {
  const start = line.indexOf('"conversation":') + '"conversation":'.length;
  let depth = 0;
  for (const match of line.slice(start).matchAll(/"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (match[0] === "{") depth++;
    if (match[0] === "}" && --depth === 0) return line.slice(start, start + match.index + 1);
  }
  throw new Error("no conversation in this line");
}

describe("golden conversations", () => {
  for (const line of lines("cases/render.jsonl")) {
    const row = JSON.parse(line) as RenderCase;
    it(`${row.id}`, () => {
      if (row.error !== undefined) {
        expect(() => render(row)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
        return;
      }
      const ids = render(row);
      expect(tokenizer.decode(ids)).toBe(row.text);
      expect(ids).toEqual(row.ids);
      expect(render(row, rawConversation(line))).toEqual(row.ids);
    });
  }

  for (const line of lines("cases/render-rawjson.jsonl")) {
    const row = JSON.parse(line) as RenderCase;
    it(`${row.id}`, () => {
      const ids = render(row, rawConversation(line));
      expect(tokenizer.decode(ids)).toBe(row.text);
      expect(ids).toEqual(row.ids);
    });
  }
});

describe("conversations of the reference's own tests", () => {
  for (const line of lines("upstream-cases.jsonl")) {
    const row = JSON.parse(line) as RenderCase;
    if (row.kind !== "render") continue;
    it(`${row.name}`, () => {
      const ids = render(row);
      if (row.ids !== undefined) expect(ids).toEqual(row.ids);
      if (row.file !== undefined) {
        const text = readFileSync(new URL(`upstream/${row.file}`, golden), "utf8").trimEnd();
        expect(tokenizer.decode(ids)).toBe(text);
        expect(ids).toEqual([...tokenizer.encode(text, { allowedSpecial: "all" })]);
      }
    });
  }
});

describe("one message", () => {
  it("is rendered as within a conversation, from an object or its JSON text", () => {
    const message: Message = { role: "user", name: "alice", content: "Hi" };
    const ids = [...renderMessage(message)];
    expect(tokenizer.decode(ids)).toBe("<|start|>user:alice<|message|>Hi<|end|>");
    expect([...renderMessage(JSON.stringify(message))]).toEqual(ids);
    expect([...renderConversation([message])]).toEqual(ids);
  });

  it("writes <|constrain|> as the control token only at the beginning of a content type", () => {
    const call: Message = {
      role: "assistant",
      recipient: "functions.f",
      channel: "commentary",
      content_type: "<|constrain|>json",
      content: "{}",
    };
    expect([...renderMessage(call)]).toContain(formatTokens.constrain);
    const ids = [...renderMessage({ ...call, content_type: "x<|constrain|>json" })];
    expect(ids).not.toContain(formatTokens.constrain);
    expect(tokenizer.decode(ids)).toContain(" x<|constrain|>json<|message|>");
  });
});

describe("refusals name the field", () => {
  const cases: [unknown, RegExp][] = [
    [{ messages: 1 }, /for conversation but received/],
    [[{ role: "robot", content: "x" }], /messages\[0\]\.role but received "robot"/],
    [[{ role: "user", content: 5 }], /messages\[0\]\.content but received 5 \(number\)/],
    [[{ role: "user", content: [{ type: "image_url" }] }], /messages\[0\]\.content\[0\]\.type/],
    [[{ role: "user", content: [{ type: "system_content" }] }], /system_content only in a message of role system/],
    [[{ role: "user", content: [{ type: "developer_content" }] }], /developer_content only in a message of role dev/],
    [[{ role: "user", content: "x", channel: 1 }], /messages\[0\]\.channel but received 1/],
    [[{ role: "system", content: [{ type: "system_content", reasoning_effort: "max" }] }], /reasoning_effort/],
    ['{"messages":[', /position 13 of conversation/],
    ['[{"role":"user","content":"\u0001"}]', /position 26 of conversation/],
    ["[01]", /position 2 of conversation/],
    ["[] x", /position 3 of conversation/],
    [`${"[".repeat(200)}${"]".repeat(200)}`, /at most 128 levels/],
  ];
  it.each(cases)("%j", (conversation, message) => {
    const call = () => renderConversation(conversation as Conversation);
    expect(call).toThrow(message);
    expect(call).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("an unknown option and an unknown next role", () => {
    expect(() => renderConversation([], { autoDrop: true } as object)).toThrow(/autoDrop/);
    expect(() => renderConversationForCompletion([], "robot" as Role)).toThrow(/nextRole/);
  });

  it("a cyclic schema", () => {
    const schema: Record<string, unknown> = { type: "object" };
    schema.properties = { self: schema };
    const tool = { name: "f", description: "", parameters: schema };
    const content = [{ type: "developer_content", tools: { functions: { name: "functions", tools: [tool] } } }];
    expect(() => renderConversation([{ role: "developer", content }] as Conversation)).toThrow(/128 levels/);
  });
});

describe("no text becomes a control token", () => {
  const random = seededRandom(7);
  const pieces = [
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|constrain|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|startoftext|>",
    "<|reserved_200000|>",
    "<|",
    "|>",
    "<|end",
    "start|>",
    "assistant",
    "final",
    " to=functions.f",
    "\n",
    " ",
    "\u200b",
    "\ufeff",
    "\ud800",
    "é",
    "\u0000",
    "</|end|>",
    "<|<|end|>|>",
  ];
  function hostile(): string {
    return Array.from(
      { length: 1 + Math.floor(random() * 12) },
      () => pieces[Math.floor(random() * pieces.length)],
    ).join("");
  }

  it("in any field that a user, a tool or a developer fills", () => {
    for (let round = 0; round < 400; round++) {
      const [a, b, c, d] = [hostile(), hostile(), hostile(), hostile()] as const;
      const schema = {
        type: "object",
        description: a,
        properties: {
          [b]: { type: "string", description: c, default: d, enum: [a], title: b },
          x: { oneOf: [{ description: d }] },
        },
        required: [b],
      };
      const tools = { [a]: { name: b, description: c, tools: [{ name: d, description: a, parameters: schema }] } };
      const messages: Message[] = [
        { role: "system", content: [{ type: "system_content", model_identity: a, knowledge_cutoff: b, tools }] },
        { role: "developer", content: [{ type: "developer_content", instructions: c, tools }] },
        { role: "user", name: a, content: b },
        { role: "assistant", channel: c, recipient: d, content_type: ` ${a}`, content: b },
        {
          role: "tool",
          name: c,
          recipient: d,
          channel: a,
          content: [
            { type: "text", text: b },
            { type: "text", text: c },
          ],
        },
      ];
      const control = [...renderConversation(messages)].filter((id) => id >= firstSpecialToken);
      const { start, channel, message, end, call } = formatTokens;
      const plain = [start, message, end];
      expect(control).toEqual([
        ...plain,
        ...plain,
        ...plain,
        start,
        channel,
        message,
        call,
        start,
        channel,
        message,
        end,
      ]);
    }
  });
});
