import { describe, expect, it } from "vitest";
import { characters, textWidth } from "../../../lib/cli/terminal/text-width.js";
import { WordWrap } from "../../../lib/cli/terminal/word-wrap.js";
import { seededRandom } from "../../support/random.js";

function wrapped(pieces: readonly string[], columns: number): string {
  const wrap = new WordWrap(() => columns);
  return pieces.map((piece) => wrap.push(piece)).join("") + wrap.flush();
}

describe("the width of a text", () => {
  it.each([
    ["", 0],
    ["plain", 5],
    ["é", 1],
    ["e\u0301", 1],
    ["日本語", 6],
    ["한국어", 6],
    ["ＡＢ", 4],
    ["ﾊﾝｶｸ", 4],
    ["👍", 2],
    ["👍🏽", 2],
    ["👨‍👩‍👧", 2],
    ["🇫🇷", 2],
    ["❤️", 2],
    ["❤", 1],
    ["\u200b\u00ad", 0],
    ["กำ", 2],
  ])("of %j is %d", (text, width) => expect(textWidth(text)).toBe(width));
});

describe("a text on a terminal", () => {
  it.each<[string, string, number, string]>([
    ["breaks at words", "one two three four", 9, "one two\nthree\nfour"],
    ["fills a line to its last column", "one two three", 7, "one two\nthree"],
    ["keeps its own lines", "one\n\n  two\n", 9, "one\n\n  two\n"],
    ["keeps its indentation", "if x:\n    return  y", 20, "if x:\n    return  y"],
    ["leaves out the blanks where it breaks", "one   two", 4, "one\ntwo"],
    ["breaks a word that is longer than a line", "a abcdefghij b", 4, "a\nabcd\nefgh\nij b"],
    ["does not break at a hyphen, as in a command", "use gpt-oss now", 9, "use\ngpt-oss\nnow"],
    ["counts wide characters twice", "日本 日本 日本", 10, "日本 日本\n日本"],
    ["breaks between wide characters", "日本語日本語", 8, "日本語日\n本語"],
    ["does not begin a line with punctuation", "日本語、日本語", 6, "日本\n語、日\n本語"],
    ["does not end a line with an opening bracket", "日本「語」", 6, "日本\n「語」"],
    ["does not count marks", "e\u0301e\u0301 e\u0301e\u0301", 5, "e\u0301e\u0301 e\u0301e\u0301"],
    ["keeps an emoji together", "ab 👨‍👩‍👧 cd", 5, "ab 👨‍👩‍👧\ncd"],
    ["counts tabs to their stops", "a\tb c", 9, "a\tb\nc"],
    ["does not put blanks beyond the edge", "four \nfive", 4, "four\nfive"],
    ["fits a terminal of one column", "ab 日", 1, "a\nb\n日"],
    ["is as it is where the width is not known", "one two three", 0, "one two three"],
  ])("%s", (_, text, columns, lines) => {
    expect(wrapped([text], columns)).toBe(lines);
    expect(wrapped(characters(text), columns)).toBe(lines);
    expect(wrapped([...text], columns)).toBe(lines);
  });

  it("is the same in whatever pieces it comes, fits, and loses nothing but blanks", () => {
    const random = seededRandom(7);
    const alphabet = ["a", "bc", "é", "e\u0301", "日", "、", "「", "👍🏽", " ", "  ", "\n", "\t", "-", "words"];
    for (let round = 0; round < 300; round++) {
      const parts = Array.from({ length: 40 }, () => alphabet[Math.floor(random() * alphabet.length)]!);
      const columns = 8 + Math.floor(random() * 12);
      const text = parts.join("");
      const whole = wrapped([text], columns);
      expect(wrapped(parts, columns)).toBe(whole);
      expect(wrapped([...text], columns)).toBe(whole);
      expect(whole.replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
      for (const line of whole.split("\n"))
        if (!line.includes("\t")) expect(textWidth(line)).toBeLessThanOrEqual(columns);
    }
  });

  it("shows a long word before it ends", () => {
    const wrap = new WordWrap(() => 10);
    expect(wrap.push("x".repeat(35))).toBe(`${"x".repeat(10)}\n${"x".repeat(10)}\n${"x".repeat(10)}`);
  });

  it("breaks for the width that the terminal has by now", () => {
    let columns = 20;
    const wrap = new WordWrap(() => columns);
    let text = wrap.push("one two three\nfour five ");
    columns = 9;
    text += wrap.push("six seven") + wrap.flush();
    expect(text).toBe("one two three\nfour five\nsix seven");
  });
});
