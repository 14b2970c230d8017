import { describe, expect, it } from "vitest";
import { fromLine, PasteReader, toLine } from "../../../lib/cli/terminal/paste.js";

function read(pieces: readonly string[]) {
  const reader = new PasteReader();
  const found = pieces.flatMap((piece) => reader.push(piece));
  return [...found, ...reader.release()];
}

/** Neighbours of one kind together: keys may come in any pieces. */
function joined(pieces: ReturnType<typeof read>): string[] {
  const out: string[] = [];
  let last = "";
  for (const { kind, text } of pieces) {
    if (kind === "keys" && last === "keys") out[out.length - 1] += text;
    else out.push(`${kind} ${text}`);
    last = kind;
  }
  return out;
}

describe("what a terminal sends", () => {
  const sent = "ab\u001b[200~one\rtwo\u001b[201~c\u001b[A\u001b[200~\u001b[201~\u001b";
  const meant = ["keys ab", "paste one\rtwo", "keys c\u001b[A", "paste ", "keys \u001b"];

  it("is told apart: keys and pastes", () => {
    expect(joined(read([sent]))).toEqual(meant);
    expect(joined(read([...sent]))).toEqual(meant);
    for (let at = 1; at < sent.length; at++) {
      expect(joined(read([sent.slice(0, at), sent.slice(at)]))).toEqual(meant);
    }
  });

  it("holds a key back only while it may begin a paste", () => {
    const reader = new PasteReader();
    expect(reader.push("\u001b")).toEqual([]);
    expect(reader.holdsKeys).toBe(true);
    expect(reader.release()).toEqual([{ kind: "keys", text: "\u001b" }]);
    expect(reader.holdsKeys).toBe(false);
    expect(reader.push("x")).toEqual([{ kind: "keys", text: "x" }]);
  });

  it("does not wait for ever for the end of a paste", () => {
    const reader = new PasteReader();
    expect(reader.push("\u001b[200~lost")).toEqual([]);
    expect(reader.push("\u0003")).toEqual([{ kind: "keys", text: "\u0003" }]);
    expect(reader.push("x")).toEqual([{ kind: "keys", text: "x" }]);
  });
});

describe("a pasted text within a line", () => {
  it.each([
    ["one\ntwo", "one␊two"],
    ["a\tb", "a␉b"],
    ["␊ is a picture", "\ufdda is a picture"],
    ["\u001b[31m", "␛[31m"],
    ["a\u2028b\u2029c", "a\u{1fffe}b\u{1ffff}c"],
    ["日本 👍🏽 é", "日本 👍🏽 é"],
  ])("%j is one, and itself again in the message", (text, line) => {
    expect(toLine(text)).toBe(line);
    expect(fromLine(line)).toBe(text);
  });

  it("has line feeds, whatever ends its lines", () => {
    expect(fromLine(toLine("a\rb\r\nc\n"))).toBe("a\nb\nc\n");
  });

  it("has nothing that would act on a terminal", () => {
    const all = String.fromCharCode(...Array.from({ length: 0xa0 }, (_, code) => code));
    expect(toLine(all)).not.toMatch(/\p{Cc}/u);
  });
});
