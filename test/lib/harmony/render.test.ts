import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type Conversation,
  type Message,
  parseMessagesFromCompletionTokens,
  type Role,
  renderConversation,
  renderConversationForCompletion,
  renderConversationForTraining,
  renderMessage,
} from "../../../lib/harmony/index.js";
import { messageText } from "../../../lib/harmony/message.js";
import { formatTokens } from "../../../lib/harmony/tokens.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";

const golden = new URL("../../golden/harmony/", import.meta.url);

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

describe("the header of a tool call", () => {
  const call: Message = {
    role: "assistant",
    channel: "commentary",
    recipient: "functions.get_current_weather",
    content_type: "<|constrain|>json",
    content: '{"location":"Rome"}',
  };
  // The tokens of <|start|>assistant, to=functions.get_current_weather, <|channel|>commentary, and the rest.
  const assistant = [200006, 173781];
  const recipient = [316, 28, 44580, 775, 23981, 170154];
  const channel = [200005, 12606, 815];
  const rest = [220, 200003, 4108, 200008, 10848, 7693, 7534, 158985, 18583, 200012];

  it("has the recipient first, as the reference writes it", () => {
    const ids = [...assistant, ...recipient, ...channel, ...rest];
    expect([...renderMessage(call)]).toEqual(ids);
    expect([...renderMessage(call, { toolCallOrder: "recipient-first" })]).toEqual(ids);
  });

  it("has the channel first, as the model writes it, where requested", () => {
    const ids = [...assistant, ...channel, ...recipient, ...rest];
    const options = { toolCallOrder: "channel-first" } as const;
    expect([...renderMessage(call, options)]).toEqual(ids);
    expect([...renderConversation([call], options)]).toEqual(ids);
    expect([...renderConversationForCompletion([call], "assistant", options)]).toEqual([...ids, ...assistant]);
    expect([...renderConversationForTraining([call], options)]).toEqual(ids);
  });

  it("equals the oracle's tokens of the demo model's own calls", () => {
    const row = lines("../demo/expected.jsonl").find((line) => line.includes('"public-weather-122"'))!;
    const { completion_ids } = JSON.parse(row) as { completion_ids: number[] };
    expect(completion_ids.slice(-20)).toEqual([...assistant.slice(1), ...channel, ...recipient, ...rest]);
  });

  it("is the only header with an order", () => {
    const others: Message[] = [
      { role: "user", content: "a" },
      { ...call, recipient: "all" },
      { ...call, channel: null },
      { ...call, recipient: null },
      { role: "tool", name: "functions.f", recipient: "assistant", channel: "commentary", content: "b" },
    ];
    for (const message of others) {
      expect(renderMessage(message, { toolCallOrder: "channel-first" })).toEqual(renderMessage(message));
    }
  });

  it("is read the same in both orders", () => {
    for (const toolCallOrder of ["recipient-first", "channel-first"] as const) {
      const [read] = parseMessagesFromCompletionTokens(renderMessage(call, { toolCallOrder }));
      expect(read).toEqual({ ...call, content: [{ type: "text", text: call.content }] });
    }
  });
});

describe("analysis is left out", () => {
  const say = (channel: string, content: string, recipient?: string): Message => ({
    role: "assistant",
    channel,
    content,
    ...(recipient !== undefined && { recipient }),
  });
  const user: Message = { role: "user", content: "?" };
  const result: Message = { role: "tool", name: "python", recipient: "assistant", channel: "analysis", content: "4" };
  const call = say("commentary", "{}", "functions.f");

  /**
   * The remaining messages of each conversation: by the reference's rule, by the server's rule, and with none dropped.
   */
  function kept(messages: Message[]) {
    return ([true, "past", false] as const).map((autoDropAnalysis) =>
      parseMessagesFromCompletionTokens(renderConversation(messages, { autoDropAnalysis })).map(messageText).join(" "),
    );
  }

  it.each<[string, Message[], [reference: string, server: string, all: string]]>([
    ["after one answer", [user, say("analysis", "1"), say("final", "A")], ["? A", "? A", "? 1 A"]],
    [
      "after two: the reference keeps what follows the first",
      [user, say("analysis", "1"), say("final", "A"), user, say("analysis", "2"), say("final", "B")],
      ["? A ? 2 B", "? A ? B", "? 1 A ? 2 B"],
    ],
    [
      "in an open turn after an answer: the reference drops nothing",
      [user, say("analysis", "1"), say("final", "A"), user, say("analysis", "2"), call],
      ["? 1 A ? 2 {}", "? A ? 2 {}", "? 1 A ? 2 {}"],
    ],
    [
      "when a user has spoken since: the last message of the assistant counts",
      [user, say("analysis", "1"), say("final", "A"), user],
      ["? A ?", "? A ?", "? 1 A ?"],
    ],
    ["not in a first turn", [user, say("analysis", "1"), call], ["? 1 {}", "? 1 {}", "? 1 {}"]],
    [
      "calls and results on that channel too",
      [user, say("analysis", "2+2", "python"), result, say("final", "4")],
      ["? 4", "? 4", "? 2+2 4 4"],
    ],
  ])("%s", (_, messages, expected) => {
    expect(kept(messages)).toEqual(expected);
    expect(renderConversation(messages)).toEqual(renderConversation(messages, { autoDropAnalysis: true }));
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
    expect(() => renderMessage("{}", { toolCallOrder: "any" } as object)).toThrow(
      /for toolCallOrder but received "any"/,
    );
    expect(() => renderConversation([], { autoDropAnalysis: "all" } as object)).toThrow(/for autoDropAnalysis/);
  });

  it("a cyclic schema", () => {
    const schema: Record<string, unknown> = { type: "object" };
    schema.properties = { self: schema };
    const tool = { name: "f", description: "", parameters: schema };
    const content = [{ type: "developer_content", tools: { functions: { name: "functions", tools: [tool] } } }];
    expect(() => renderConversation([{ role: "developer", content }] as Conversation)).toThrow(/128 levels/);
  });
});
