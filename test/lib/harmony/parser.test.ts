import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type Message,
  parseMessagesFromCompletionTokens,
  type Role,
  renderConversation,
  StreamableParser,
} from "../../../lib/harmony/index.js";
import { messageText } from "../../../lib/harmony/message.js";
import { formatTokens } from "../../../lib/harmony/tokens.js";
import { tokenBytes } from "../../../lib/tokenizer/token-table.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";

const golden = new URL("../../golden/harmony/", import.meta.url);

function rows<T>(file: string): T[] {
  const lines = readFileSync(new URL(file, golden), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as T);
}

interface Step {
  state: string;
  role: string | null;
  channel: string | null;
  recipient: string | null;
  content_type: string | null;
  delta: string | null;
  n_messages: number;
}

interface StreamCase {
  id: string;
  role: Role | null;
  strict: boolean;
  eos: boolean;
  tokens: number[];
  steps: Step[];
  messages: Message[];
  error?: string;
}

/** A message in the form of the golden files: a single text part is a string. */
function plain(message: Message): Message {
  return { ...message, content: messageText(message) };
}

function stepOf(parser: StreamableParser): Step {
  return {
    state: parser.state,
    role: parser.currentRole,
    channel: parser.currentChannel,
    recipient: parser.currentRecipient,
    content_type: parser.currentContentType,
    delta: parser.lastContentDelta,
    n_messages: parser.messages.length,
  };
}

/** The words of a reference error that do not depend on how Rust prints a value. */
function essence(error: string): string {
  return error.split(": Some(")[0]!;
}

describe("golden streams, step by step", () => {
  for (const row of rows<StreamCase>("cases/stream.jsonl")) {
    it(row.id, () => {
      const parser = new StreamableParser({ role: row.role, strict: row.strict });
      const steps: Step[] = [];
      let error: unknown;
      try {
        for (const token of row.tokens) {
          parser.process(token);
          steps.push(stepOf(parser));
        }
        if (row.eos) parser.processEos();
      } catch (thrown) {
        error = thrown;
      }
      expect(steps).toEqual(row.steps);
      expect(parser.messages.map(plain)).toEqual(row.messages);
      expect(parser.tokens).toEqual(row.tokens.slice(0, parser.tokens.length));
      if (row.error) {
        expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining(essence(row.error)) });
      } else {
        expect(error).toBeUndefined();
      }
    });
  }
});

interface UpstreamCase {
  name: string;
  kind: string;
  file?: string;
  text?: string;
  tokens?: number[];
  role: Role | null;
  strict?: boolean;
  messages?: Message[];
  error_contains?: string;
}

describe("the reference's own tests", () => {
  for (const row of rows<UpstreamCase>("upstream-cases.jsonl")) {
    if (row.kind === "render") continue;
    it(row.name, () => {
      const options = { role: row.role, strict: row.strict ?? true };
      const parse = () => parseMessagesFromCompletionTokens(tokensOf(row), options);
      if (row.error_contains !== undefined)
        expect(parse).toThrow(expect.objectContaining({ message: expect.stringContaining(row.error_contains) }));
      else expect(parse().map(plain)).toEqual(row.messages?.map(plain));
    });
  }

  function tokensOf(row: UpstreamCase): Iterable<number> {
    if (row.tokens !== undefined) return row.tokens;
    const text = row.text ?? readFileSync(new URL(`upstream/${row.file}`, golden), "utf8").trimEnd();
    if (row.kind === "parse-tokens-file") return text.split(/\s+/).map(Number);
    return tokenizer.encode(text, { allowedSpecial: "all" });
  }
});

const special = (text: string) => tokenizer.encode(text, { allowedSpecial: "all" });

describe("StreamableParser", () => {
  it("parses rendered messages back", () => {
    const messages: Message[] = [
      { role: "user", content: "What is <|end|> in 東京 👨‍👩‍👧‍👦?" },
      { role: "assistant", channel: "analysis", content: "Hm.\n\n\ufeff<|return|>" },
      {
        role: "assistant",
        recipient: "functions.f",
        channel: "commentary",
        content_type: "<|constrain|>json",
        content: "{}",
      },
      { role: "tool", name: "functions.f", recipient: "assistant", channel: "commentary", content: "" },
      { role: "assistant", channel: "final", content: "It is text." },
    ];
    const parsed = parseMessagesFromCompletionTokens(renderConversation(messages, { autoDropAnalysis: false }));
    expect(parsed.map(plain)).toEqual(messages);
  });

  it("shows the content under way, without half characters", () => {
    const parser = new StreamableParser({ role: "assistant" });
    const smile = tokenizer.encode("𠜎");
    expect(smile.length).toBeGreaterThan(1);
    for (const token of special("<|channel|>final<|message|>a")) parser.process(token);
    parser.process(smile[0]!);
    expect(parser.currentContent).toBe("a");
    expect(parser.lastContentDelta).toBeNull();
    for (const token of smile.slice(1)) parser.process(token);
    expect(parser.currentContent).toBe("a𠜎");
  });

  it("an id without bytes swallows the rest of its message into one U+FFFD", () => {
    const parser = new StreamableParser({ role: "assistant" });
    for (const token of [...special("<|message|>ab"), 201089, ...special("cd<|end|><|start|>assistant<|message|>e")]) {
      parser.process(token);
    }
    parser.processEos();
    expect(parser.messages.map(messageText)).toEqual(["ab\ufffd", "e"]);
  });

  it("an id without bytes in a header is an error", () => {
    const parser = new StreamableParser({ role: "assistant" });
    parser.process(300000);
    expect(() => parser.process(200008)).toThrow(/could not decode header/);
  });

  it.each([[-1], [1.5], [Number.NaN], [2 ** 32], ["7"], [null]])("refuses %j as a token", (token) => {
    const parser = new StreamableParser();
    expect(() => parser.process(token as number)).toThrow(/for token but received/);
    expect(parser.tokens).toEqual([]);
  });

  it("refuses an unknown role or option", () => {
    expect(() => new StreamableParser({ role: "robot" as Role })).toThrow(/for role but received "robot"/);
    expect(() => new StreamableParser({ strct: true } as object)).toThrow(/strct/);
  });
});

describe("long streams take time in proportion", () => {
  // 100,000 tokens whose cost was once quadratic: minutes instead of milliseconds.
  const n = 100_000;
  const spaces = [...tokenizer.encode(" ".repeat(64))];
  const ids = Array.from({ length: 199_998 }, (_, id) => id);
  /** A token of two bytes that can only continue a character. */
  const invalid = ids.find((id) => tokenBytes(id).length === 2 && tokenBytes(id).every((b) => b >= 0x80 && b < 0xc0))!;

  it("white space inside a header", () => {
    const parser = new StreamableParser();
    for (const token of special("<|start|>user")) parser.process(token);
    for (let i = 0; i < n; i++) parser.process(spaces[i % spaces.length]!);
    for (const token of special("to=x<|message|>")) parser.process(token);
    expect(parser.currentRecipient).toBe("x");
  });

  it("bytes that are not UTF-8, of which each step replaces only one sequence", () => {
    const parser = new StreamableParser({ role: "assistant" });
    parser.process(formatTokens.message);
    for (let i = 0; i < n; i++) parser.process(invalid);
    expect(parser.currentContent === "\ufffd".repeat(n)).toBe(true);
    parser.processEos();
    expect(messageText(parser.messages[0]!) === "\ufffd".repeat(2 * n)).toBe(true);
  });
});
