import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../../../lib/chat/chat.js";
import { complete, helpText, parseCommand, unknownCommand } from "../../../lib/cli/chat/commands.js";
import { MessageReader } from "../../../lib/cli/chat/message-reader.js";
import { turnsToDrop, withoutOldest } from "../../../lib/cli/chat/turns.js";
import { linesOf } from "../../../lib/cli/terminal/piped-input.js";

describe("messages of several lines", () => {
  function messages(...lines: string[]) {
    const reader = new MessageReader();
    const taken = lines.map((line) => reader.take(line)).filter((message) => message !== null);
    return { taken: taken.map(({ text }) => text), open: reader.end()?.text ?? null };
  }

  it.each<[string, string[], string[]]>([
    ["each line is one", ["a", "", "b"], ["a", "", "b"]],
    ["quotes on lines of their own", ['"""', "a", " b", "", '"""', "c"], ["a\n b\n", "c"]],
    ["quotes beside the text", ['"""a', 'b"""'], ["a\nb"]],
    ["quotes around one line", ['"""/quit"""'], ["/quit"]],
    ["a pasted text between quotes", ['"""\na\nb\n"""'], ["\na\nb\n"]],
    ["quotes within a line", ['say """ and """ end'], ['say """ and """ end']],
    ["nothing between quotes", ['"""', '"""'], [""]],
  ])("%s", (_, lines, taken) => expect(messages(...lines)).toEqual({ taken, open: null }));

  it("are no commands, and can be given up", () => {
    const reader = new MessageReader();
    expect(reader.take('"""/quit"""')).toEqual({ text: "/quit", isQuoted: true });
    expect(reader.take("/quit")).toEqual({ text: "/quit", isQuoted: false });
    expect(reader.take('"""a')).toBeNull();
    expect(reader.isOpen).toBe(true);
    reader.discard();
    expect(reader.take("b")).toEqual({ text: "b", isQuoted: false });
  });

  it("may lack their end", () => expect(messages('"""a', "b")).toEqual({ taken: [], open: "a\nb" }));
});

describe("commands", () => {
  it.each<[string, object | null]>([
    ["/effort low", { name: "effort", word: "effort", value: "low" }],
    ["/system  Be brief. ", { name: "system", word: "system", value: "Be brief." }],
    ["/exit", { name: "quit", word: "exit", value: "" }],
    ["/", { name: null, word: "", value: "" }],
    ["/what is this?", { name: null, word: "what", value: "is this?" }],
    [" /quit", null],
    ["/* a comment */\nint x;", null],
  ])("%j", (line, command) => expect(parseCommand(line)).toEqual(command));

  it.each<[string, string[], string]>([
    ["/", ["/effort ", "/system ", "/reset", "/stats", "/help", "/quit"], "/"],
    ["/s", ["/system ", "/stats"], "/s"],
    ["/ef", ["/effort "], "/ef"],
    ["/effort ", ["low", "medium", "high"], ""],
    ["/effort m", ["medium"], "m"],
    ["/system n", ["none"], "n"],
    ["/reset x", [], "x"],
    ["/nothing x", [], "x"],
    ["Hello /s", [], "Hello /s"],
    ["", [], ""],
  ])("Tab behind %j", (line, found, begun) => expect(complete(line)).toEqual([found, begun]));

  it("that there are not name one that there is", () => {
    expect(unknownCommand("efort")).toBe("Unknown command /efort; did you mean /effort?");
    expect(unknownCommand("xyzzy")).toBe("Unknown command /xyzzy; /help lists all");
    for (const line of helpText().split("\n").slice(0, 6)) expect(line).toMatch(/^\/\w+ .* {2}\S/);
  });
});

describe("a conversation that is too long", () => {
  const turn = (name: string): ChatMessage[] => [
    { role: "user", content: name },
    { role: "assistant", channel: "analysis", content: "hm" },
    { role: "assistant", content: `${name}!` },
  ];
  const messages: ChatMessage[] = [...turn("a"), ...turn("b"), ...turn("c"), { role: "user", content: "d" }];
  const tokensOf = (some: readonly ChatMessage[]) => 10 * some.length;

  it.each<[number, number, number | null]>([
    [100, 100, 0],
    [99, 100, 1],
    [70, 100, 1],
    [40, 100, 2],
    [10, 100, 3],
    [5, 100, 3],
    [5, 9, null],
  ])("with room for %d tokens, or %d at most, loses %s turns", (enough, most, turns) => {
    expect(turnsToDrop(messages, tokensOf, enough, most)).toBe(turns);
  });

  it("loses whole turns", () => {
    expect(withoutOldest(messages, 0)).toEqual(messages);
    expect(withoutOldest(messages, 2)).toEqual([...turn("c"), { role: "user", content: "d" }]);
  });
});

describe("lines of a pipe", () => {
  const lines = async (...chunks: (string | Buffer)[]) => {
    const all: string[] = [];
    for await (const line of linesOf(Readable.from(chunks.map((chunk) => Buffer.from(chunk))))) all.push(line);
    return all;
  };

  it("end with a line feed, and nowhere else", async () => {
    expect(await lines("a\nb\r\nc")).toEqual(["a", "b", "c"]);
    expect(await lines("a\n\n")).toEqual(["a", ""]);
    expect(await lines()).toEqual([]);
    expect(await lines("a\u2028b\rc\u0085d\n")).toEqual(["a\u2028b\rc\u0085d"]);
  });

  it("come in any pieces, characters too", async () => {
    const bytes = Buffer.from("é日\n👍");
    expect(await lines(...Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(["é日", "👍"]);
  });
});
