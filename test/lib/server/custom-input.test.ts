import { toUSVString } from "node:util";
import { describe, expect, it } from "vitest";
import { CustomInput } from "../../../lib/server/turn/custom-input.js";

/** The input of arguments that arrive in pieces of this length, and the pieces that it arrived in. */
function read(written: string, length: number, complete = true): { text: string; pieces: string[] } {
  const input = new CustomInput();
  const pieces: string[] = [];
  for (let at = 0; at < written.length; at += length) pieces.push(input.push(written.slice(at, at + length)));
  pieces.push(input.end(complete));
  expect(pieces.join("")).toBe(input.text);
  expect(toUSVString(input.text)).toBe(input.text);
  return { text: input.text, pieces: pieces.filter((piece) => piece !== "") };
}

const texts = [
  "",
  "a",
  '*** Begin Patch\n+\tx = "1\\n"\n*** End Patch\n',
  '\\\\""/\b\f\r\u0000\u001f',
  "déjà 🎉 日本 \u2028",
  '{"input":"x"}',
];

/** JSON as models write it: compact, spaced, and with every character as an escape. */
const spellings: readonly (readonly [string, (text: string) => string])[] = [
  ["compact", (text) => JSON.stringify({ input: text })],
  ["spaced", (text) => ` {\n  "input" : ${JSON.stringify(text)}\n} `],
  [
    "escaped",
    (text) =>
      `{"input":"${[...text]
        .flatMap((c) => c.split(""))
        .map(asEscape)
        .join("")}"}`,
  ],
];

function asEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

describe("the input of a custom tool", () => {
  it.each(spellings)("is decoded from %s JSON, however it is cut", (_, spell) => {
    for (const text of texts) {
      const written = spell(text);
      for (let length = 1; length <= written.length; length++) expect(read(written, length).text).toBe(text);
    }
  });

  it("arrives as it is written", () => {
    expect(read('{"input":"a\\nb\\ud83d\\ude00c"}', 1).pieces).toEqual(["a", "\n", "b", "😀", "c"]);
  });

  it.each([
    ["plain text", "*** Begin Patch", "*** Begin Patch"],
    ["text of several lines", `{${" ".repeat(100)}\nx`, `{${" ".repeat(100)}\nx`],
    ["a JSON string", '"a"', '"a"'],
    ["another member", '{"patch":"a"}', '{"patch":"a"}'],
    ["another member before the input", '{"n":1,"input":"a\\n"}', "a\n"],
    ["an input that is no text", '{"input":7}', '{"input":7}'],
    ["null", "null", "null"],
    ["an array", "[1]", "[1]"],
    ["no arguments", "{}", ""],
    ["an input without an end", '{"input":"ab', "ab"],
    ["text behind the input", '{"input":"ab"} and "more"', "ab"],
    ["a second input", '{"input":"ab","input":"cd"}', "ab"],
    ["line ends within the quotes", '{"input":"a\nb\tc"}', "a\nb\tc"],
    ["an escape that is none", '{"input":"\\d\\x41\\uZZ"}', "\\d\\x41\\uZZ"],
    ["half of a pair", '{"input":"\\ud83d, \\ude00\\ud83d\\ud83d\\n"}', "\ufffd, \ufffd\ufffd\ufffd\n"],
    ["half of a pair at the end", '{"input":"a\\ud83d"}', "a\ufffd"],
    ["half of a pair in another member's text", '{"n":1,"input":"\\ud83d"}', "\ufffd"],
    ["deep nonsense", "[".repeat(100_000), "[".repeat(100_000)],
  ])("is read from %s", (_, written, text) => {
    for (const length of [1, 2, 3, 7, written.length]) expect(read(written, length).text).toBe(text);
  });

  it("of a call that is cut off is what was written of it", () => {
    const written = '{"input":"a\\n\\ud83d\\ude00b"}';
    for (let end = 0; end <= written.length; end++) {
      expect("a\n😀b".startsWith(read(written.slice(0, end), 3, false).text)).toBe(true);
    }
    expect(read(written.slice(0, -2), 3, false).text).toBe("a\n😀b");
  });

  it("takes time in proportion to its length", () => {
    const started = performance.now();
    for (const unit of ["x", "\\n", "\\ud83d\\ude00"]) read(`{"input":"${unit.repeat(100_000)}"}`, 3);
    read(" ".repeat(300_000), 3);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
