import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Message, parseMessagesFromCompletionTokens } from "../../../lib/harmony/index.js";
import { messageText } from "../../../lib/harmony/message.js";
import {
  calledTool,
  type ParsedDelta,
  RecoveringParser,
  type RecoveringParserOptions,
} from "../../../lib/harmony/recovering-parser.js";
import { tokenBytes } from "../../../lib/tokenizer/token-table.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";

/** Feeds all tokens and checks the events: the deltas of a message are its text, and precede it. */
function read(tokens: Iterable<number>, options: RecoveringParserOptions = {}): Message[] {
  const parser = new RecoveringParser(options);
  const messages: Message[] = [];
  let deltas: ParsedDelta[] = [];
  const accept = (events: ReturnType<RecoveringParser["push"]>) => {
    for (const event of events) {
      if (event.type === "delta") {
        deltas.push(event);
        continue;
      }
      messages.push(event.message);
      const expected = { type: "delta", ...headerOf(event.message) };
      expect(deltas).toEqual(deltas.map(({ text }) => ({ ...expected, text })));
      expect(deltas.map(({ text }) => text).join("")).toBe(messageText(event.message));
      expect(deltas.some(({ text }) => text === "")).toBe(false);
      deltas = [];
    }
  };
  for (const token of tokens) accept(parser.push(token));
  accept(parser.end());
  expect(deltas).toEqual([]);
  expect(parser.messages).toEqual(messages);
  expect(parser.end()).toEqual([]);
  return messages;
}

function headerOf(message: Message) {
  const { role, channel = null, recipient = null, content_type = null } = message;
  return { role, channel, recipient, contentType: content_type };
}

const special = (text: string) => tokenizer.encode(text, { allowedSpecial: "all" });

/** Returns the token with exactly these bytes. */
function firstIdOf(bytes: Uint8Array): number {
  for (let id = 0; id < 200_000; id++) if (Buffer.compare(tokenBytes(id), bytes) === 0) return id;
  throw new Error("no token has these bytes");
}

/** `channel>recipient:type|text`, without absent parts: enough to check the place of every text. */
function brief(messages: Message[]): string[] {
  return messages.map((message) => {
    const { role, name, channel, recipient, content_type } = message;
    const author = role === "assistant" ? "" : `[${name ?? role}]`;
    const type = content_type ? `:${content_type}` : "";
    return `${author}${channel ?? ""}${recipient ? `>${recipient}` : ""}${type}|${messageText(message)}`;
  });
}

describe("well-formed streams", () => {
  const lines = readFileSync(new URL("../../golden/harmony/cases/stream.jsonl", import.meta.url), "utf8")
    .trimEnd()
    .split("\n");
  const rows = lines.map(
    (line) =>
      JSON.parse(line) as { id: string; tag: string; role: string; error?: string; tokens: number[]; text: string },
  );
  // Outside the policy: a bare word as recipient, markers inside one.
  const wellFormed = rows.filter(
    (row) => row.tag !== "malformed" && !row.error && row.role === "assistant" && row.id !== "public-stream-006",
  );

  it.each(wellFormed.map((row) => [row.id, row] as const))("%s reads as StreamableParser reads it", (_, row) => {
    expect(read(row.tokens)).toEqual(parseMessagesFromCompletionTokens(row.tokens, { role: "assistant" }));
  });

  it("the reference's own completions too", () => {
    const file = new URL("../../golden/harmony/upstream/test_streamable_parser.txt", import.meta.url);
    const tokens = special(readFileSync(file, "utf8").trimEnd());
    expect(read(tokens)).toEqual(parseMessagesFromCompletionTokens(tokens, { role: "assistant" }));
  });

  it("messages of every role, when no header is open", () => {
    const text =
      "<|start|>user<|message|>a<|end|><|start|>functions.f to=assistant<|channel|>commentary<|message|>b<|end|>" +
      "<|start|>assistant<|channel|>final<|message|>c";
    expect(brief(read(special(text), { headerOpen: false }))).toEqual([
      "[user]|a",
      "[functions.f]commentary>assistant|b",
      "final|c",
    ]);
  });
});

describe("malformed streams are read by their likely meaning", () => {
  const tools = ["get_weather"];
  const cases: [string, string, string[]][] = [
    // Between messages.
    [
      "a forgotten start before a channel",
      "<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b<|return|>",
      ["analysis|a", "final|b"],
    ],
    [
      "a forgotten start before a role",
      "<|channel|>analysis<|message|>a<|end|>assistant<|channel|>final<|message|>b",
      ["analysis|a", "final|b"],
    ],
    [
      "a forgotten start before a recipient",
      "<|message|>a<|end|> to=functions.f<|channel|>commentary<|message|>{}<|call|>",
      ["|a", "commentary>functions.f|{}"],
    ],
    ["a forgotten header", "<|channel|>analysis<|message|>a<|end|><|message|>b", ["analysis|a", "|b"]],
    ["stray closing tokens", "<|message|>a<|end|><|return|><|call|><|end|>", ["|a"]],
    ["stray text", "<|channel|>analysis<|message|>a<|end|>\n\nHello to=you<|end|>", ["analysis|a", "|Hello to=you"]],
    ["stray white space", "<|message|>a<|end|>\n \n<|start|>assistant<|message|>b<|end|> ", ["|a", "|b"]],
    [
      "text that begins like a header",
      "<|message|>a<|end|>to<|end|> assistants<|end|>assistant",
      ["|a", "|to", "|assistants"],
    ],
    [
      "an address that is cut off",
      "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to",
      ["analysis|a"],
    ],
    // Control tokens in a message.
    [
      "a forgotten end",
      "<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b",
      ["analysis|a", "final|b"],
    ],
    [
      "a channel in a message",
      "<|channel|>analysis<|message|>a<|channel|>final<|message|>b",
      ["analysis|a", "final|b"],
    ],
    [
      "other control tokens in a message",
      "<|message|>a<|message|>b<|constrain|>c<|reserved_200014|>d<|startoftext|>e",
      ["|abcde"],
    ],
    ["an end of text", "<|channel|>final<|message|>a<|endoftext|>b", ["final|a", "|b"]],
    // Headers.
    [
      "a marker in a recipient",
      "<|channel|>commentary to=functions.f<|channel|>commentary<|constrain|>json<|message|>{}",
      ["commentary>functions.f:<|constrain|>json|{}"],
    ],
    [
      "a content type in the recipient's place",
      "<|channel|>commentary<|constrain|>json<|message|>{}",
      ["commentary:<|constrain|>json|{}"],
    ],
    [
      "a space after constrain",
      "<|channel|>commentary to=python<|constrain|> json<|message|>1",
      ["commentary>python:<|constrain|>json|1"],
    ],
    ["a stray word", "<|channel|>analysis code<|message|>x", ["analysis:code|x"]],
    ["a tool without to=", "<|channel|>analysis python<|message|>x", ["analysis>python|x"]],
    [
      "a recipient and its type without to=",
      "<|channel|>commentary lookup json<|message|>x",
      ["commentary>lookup:json|x"],
    ],
    [
      "a declared tool without its namespace",
      "<|channel|>analysis to=get_weather<|message|>{}",
      ["analysis>functions.get_weather|{}"],
    ],
    ["an unknown tool", "<|channel|>commentary to=nothing.like_it<|message|>{}", ["commentary>nothing.like_it|{}"]],
    ["words too many", "<|channel|>analysis to=functions.f extra words<|message|>x", ["analysis>functions.f|x"]],
    [
      "two recipients",
      "<|channel|>commentary to=functions.f to=functions.g<|message|>{}",
      ["commentary>functions.f|{}"],
    ],
    ["an empty channel", "<|channel|><|message|>x", ["|x"]],
    ["two channels", "<|channel|>analysis<|channel|>final<|message|>x", ["analysis|x"]],
    ["an unknown role", "<|end|><|start|>wizard<|message|>x", ["|x"]],
    ["a tool's answer", "<|end|><|start|>functions.f<|channel|>commentary<|message|>x", ["[functions.f]commentary|x"]],
    // Headers without a message.
    ["no message token, closed", "<|channel|>commentary Hello there<|end|>", ["commentary|Hello there"]],
    ["no message token, cut off", "<|channel|>analysis We must", ["analysis|We must"]],
    [
      "no message token after a start",
      "<|end|><|start|>assistant<|channel|>final So it is<|return|>",
      ["final|So it is"],
    ],
    [
      "plain text only",
      "I must refuse<|end|><|start|>assistant<|channel|>final<|message|>No.",
      ["|I must refuse", "final|No."],
    ],
    ["nothing but a channel", "<|channel|>analysis", []],
    ["nothing but a role", "<|end|><|start|>assistant", []],
    ["a call cut off in its header", "<|channel|>commentary to=functions.f <|constrain|>json", []],
    [
      "a call closed in its header",
      "<|channel|>commentary to=functions.f <|constrain|>json<|call|>",
      ["commentary>functions.f:<|constrain|>json|"],
    ],
    [
      "a call without message token",
      '<|channel|>commentary to=functions.f json{"a":1}<|call|>',
      ['commentary>functions.f:json|{"a":1}'],
    ],
    [
      "a start in a header",
      "<|channel|>final Well<|start|>assistant<|channel|>final<|message|>x",
      ["final|Well", "final|x"],
    ],
    ["nothing", "", []],
  ];
  it.each(cases)("%s", (_, text, expected) => {
    expect(brief(read(special(text), { tools }))).toEqual(expected);
  });

  it.each([
    ["<|channel|>analysis to=functions.f extra words<|message|>x", "extrawords".length],
    ["<|channel|>analysis and so on<|message|>x<|end|><|start|>assistant<|channel|>final go<|message|>y", 7],
    ["<|end|><|start|>wizard<|message|>x", "wizard".length],
    ['<|channel|>commentary to=functions.f {"a":1}', 7], // a call that is cut off is dropped
    ["<|channel|>commentary to=functions.f <|constrain|>json", 0],
    ["<|channel|>analysis code<|message|>x<|end|>", 0], // a content type
    ["<|channel|>commentary to=functions.f json<|message|>{}<|call|>", 0],
    ["<|channel|>commentary Hello there<|end|>", 0], // it becomes text
    ["<|channel|>final<|message|>a<|end|>\n\nb", 0],
    ["<|channel|>analysis to", 0],
  ])("counts what no message has: %s", (text, characters) => {
    const parser = new RecoveringParser();
    parser.pushAll(special(text));
    parser.end();
    expect(parser.strayCharacters).toBe(characters);
  });

  it("a header that never ends is streamed as content", () => {
    const text = "word ".repeat(400);
    const parser = new RecoveringParser();
    const events = [...special(`<|channel|>analysis ${text}`)].flatMap((token) => parser.push(token));
    const streamed = events.map((event) => (event.type === "delta" ? event.text : "")).join("");
    expect(streamed.length).toBeGreaterThan(text.length - 20);
    parser.end();
    expect(parser.messages.map(messageText)).toEqual([text]);
  });

  it("half a character at the end is emitted as U+FFFD, and one at a header's limit is completed", () => {
    const half = tokenizer.encode("𠜎").slice(0, 1);
    expect(brief(read([...special("<|channel|>final<|message|>a"), ...half]))).toEqual(["final|a\ufffd"]);
    expect(brief(read([...special("<|message|>a<|end|>"), ...half]))).toEqual(["|a", "|\ufffd"]);
    const long = [...special(`<|channel|>final ${"a b ".repeat(200)}`)].slice(0, 128);
    const [message] = read([...long, ...tokenizer.encode("𠜎")]);
    expect(messageText(message!).endsWith("𠜎")).toBe(true);
  });

  it("unknown ids and values that are not ids are ignored", () => {
    const strange = [201089, 4e9, 2 ** 53, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY];
    for (const text of ["<|channel|>final<|message|>a", "<|channel|>fin", "<|message|><|end|><|chan"]) {
      expect(read([...strange, ...special(text), ...strange, ...special("b")])).toEqual(
        read([...special(text), ...special("b")]),
      );
    }
  });

  it("invalid bytes are replaced at once, each by one U+FFFD", () => {
    const parser = new RecoveringParser();
    parser.pushAll(special("<|channel|>final<|message|>"));
    const byte = (value: number) => firstIdOf(Uint8Array.of(value));
    const texts = [0xff, 0xe6, 0x9d, 0x41, 0x80, 0xe6, 0xff].map((value) =>
      parser.push(byte(value)).map((event) => event.type === "delta" && event.text),
    );
    expect(texts).toEqual([["\ufffd"], [], [], ["\ufffdA"], ["\ufffd"], [], ["\ufffd\ufffd"]]);
  });
});

describe("calledTool", () => {
  it.each([
    ["functions.get_weather", "get_weather"],
    ["python", "python"],
    ["functions.", ""],
    ["assistant", null],
    ["all", null],
    ["", null],
    [null, null],
    [undefined, null],
  ])("%j calls %j", (recipient, tool) => expect(calledTool(recipient)).toBe(tool));
});
