import { describe, expect, it } from "vitest";
import { larkPattern } from "../../../lib/server/grammars/lark.js";
import { GrammarRefusal, wholeMatch } from "../../../lib/server/grammars/pattern.js";
import { patchGrammar } from "../../support/patch-grammar.js";

/** Grammars as patterns; JavaScript's own engine knows what these match. */

/** The rules `a0`, `a1` and so on, and one more that is a text. */
function rules(count: number, body: (index: number) => string): string {
  return `${Array.from({ length: count }, (_, index) => `a${index}: ${body(index)}\n`).join("")}a${count}: "x"`;
}

function matches(pattern: string, texts: readonly string[]): string[] {
  const compiled = new RegExp(pattern, "u");
  return texts.filter((text) => compiled.test(text));
}

describe("a Lark grammar", () => {
  it.each([
    ["a text", 'start: "a.b"', ["a.b"], ["axb", "a.b ", ""]],
    ["nothing", "start:", [""], ["a"]],
    ["alternatives", 'start: "a" | "b" "c"\n  | "d"', ["a", "bc", "d"], ["ac", "bd", "ad"]],
    ["alternatives of a rule among others", 'start: "<" x ">"\nx: "a" | "b"', ["<a>", "<b>"], ["<a", "b>"]],
    ["counts", 'start: "a"? "bc"* ("d" | "e")+ "f"~2 "g"~1..2', ["dffg", "abcbcdedffgg"], ["ffg", "dfg", "dffggg"]],
    ["counts of counts", 'start: a*\na: "x"+ "y"?', ["", "xxyx"], ["y"]],
    ["options in brackets", 'start: ["+" | "-"] "1"', ["1", "+1", "-1"], ["+-1"]],
    ["ranges", 'start: "a".."c" "0".."9" "\\\\".."^"', ["a0\\", "c9]"], ["d0^", "-0^", "a0["]],
    ["letters of any case", 'start: "ab1"i', ["ab1", "AB1", "aB1"], ["ab2"]],
    ["escapes", 'start: "\\n\\t\\\\\\"\\x41\\u00e9/"', ['\n\t\\"Aé/'], ["n"]],
    ["regular expressions", "start: /a|b/ /[^\\/]+/ /\\d{2}/", ["a.-22", "bz11"], ["a/11", "ab"]],
    ["a dot, which is no line end", "start: /.+/", ["a\rb\u2028"], ["a\n", ""]],
    ["a dot with the flag s", "start: /.+/s", ["a\n"], [""]],
    ["dots in sets and escapes", "start: /[.]\\./", [".."], ["ab"]],
    ["terminals", "start: A _B\nA: /x/\n_B: A A", ["xxx"], ["xx"]],
    ["priorities and modifiers", "start: a B\n?a.2: /x/\n!B.-1: /y/", ["xy"], ["x"]],
    ["names of nodes", 'start: "a" -> first\n  | "b" -> second', ["a", "b"], ["first"]],
    ["comments", '// one\nstart: "a" // two\n# three\n | "b"', ["a", "b"], ["/"]],
    [
      "imports",
      "start: INT WORD SPACE\n%import common.INT\n%import common (WORD)\n%import common.WS_INLINE -> SPACE",
      ["12ab  "],
      ["ab"],
    ],
  ])("describes %s", (_, grammar, good, bad) => {
    expect(matches(larkPattern(grammar), [...good, ...bad])).toEqual(good);
  });

  it.each([
    ["DIGIT", ["7"], ["77"]],
    ["HEXDIGIT", ["f", "A"], ["g"]],
    ["INT", ["77"], ["-7"]],
    ["SIGNED_INT", ["77", "-7", "+7"], ["7."]],
    ["DECIMAL", ["7.", ".7", "7.7"], ["7", "."]],
    ["FLOAT", ["7.", "7e1", "7.5e-1"], ["7", "-7."]],
    ["SIGNED_FLOAT", ["-7.", "7e1"], ["7"]],
    ["NUMBER", ["7", "7.5"], ["-7"]],
    ["SIGNED_NUMBER", ["7", "-7.5e3"], ["--7"]],
    ["ESCAPED_STRING", ['""', '"a\\"b"'], ['"', '"a"b"', '"\\"']],
    ["LCASE_LETTER", ["a"], ["A"]],
    ["UCASE_LETTER", ["A"], ["a"]],
    ["LETTER", ["a", "A"], ["1"]],
    ["WORD", ["aB"], ["a1"]],
    ["CNAME", ["_a1"], ["1a"]],
    ["WS_INLINE", [" \t"], ["\n"]],
    ["WS", [" \n\t"], ["a"]],
    ["CR", ["\r"], ["\n"]],
    ["LF", ["\n"], ["\r\n"]],
    ["NEWLINE", ["\r\n\n"], ["\r"]],
  ])("can import %s", (name, good, bad) => {
    expect(matches(larkPattern(`start: ${name}\n%import common.${name}`), [...good, ...bad])).toEqual(good);
  });

  it("describes patches as coding agents write them", () => {
    const good = [
      "*** Begin Patch\n*** Add File: a.txt\n+one\n+\n*** End Patch\n",
      "*** Begin Patch\n*** Delete File: a b.txt\n*** End Patch",
      "*** Begin Patch\n*** Update File: a\n*** Move to: b\n@@ f()\n x\n-y\n+z\n@@\n+\n*** End of File\n*** End Patch",
    ];
    const bad = [
      "",
      "*** Begin Patch\n*** End Patch\n",
      "*** Begin Patch\n*** Add File: a.txt\none\n*** End Patch\n",
      "```\n*** Begin Patch\n*** Delete File: a\n*** End Patch\n```",
    ];
    expect(matches(larkPattern(patchGrammar), [...good, ...bad])).toEqual(good);
  });

  it.each([
    ["", /start, which is not defined, in line 1/],
    ["a: b", /start/],
    ['start: "a" start?', /recursion of start in line 1/],
    ['start: x\nx: "(" y ")"\ny: x | "a"', /recursion of x in line 3/],
    ["start: a", /a, which is not defined, in line 1/],
    ['start: "a"\nstart: "b"', /second definition of start in line 2/],
    ['start: "a"\n%ignore " "', /"%ignore" in line 2/],
    ['%declare X\nstart: "a"', /"%declare" in line 1/],
    ["%import common.C_COMMENT\nstart: C_COMMENT", /common.C_COMMENT in line 1/],
    ["%import python.NAME\nstart: NAME", /%import from another grammar/],
    ["%import common", /%import without a name/],
    ["%import common (A", /common.A/],
    ["%import", /unexpected end/],
    ["start: _sep{a, b}\n_sep{x, y}: x y", /"{" in line 1/],
    ['start: ("a"', /"\(" that is not closed in line 1/],
    ['start: "a")', /"\)" in line 1/],
    ["start: *", /"\*" in line 1/],
    ['start: "a"~', /unexpected end/],
    ['start: "a"~b', /"b" in line 1/],
    ['start: "ab".."c"', /range whose ends/],
    ['start: "a".. b', /"b" in line 1/],
    ['start: "a', /"\\"" in line 1/],
    ["start: /a", /"\/" in line 1/],
    ["start: /a/i", /flags "i" in line 1/],
    ['start: "\\d"', /escape "\\\\d" in line 1/],
    ['start: "\\ud83d"', /half of a surrogate pair/],
    ["start: <|call|>", /"<" in line 1/],
    ['start: "a" -> ', /unexpected end/],
    ["nonsense", /"nonsense" in line 1/],
    [
      `start: a0\n${Array.from({ length: 5000 }, (_, i) => `a${i}: a${i + 1}\n`).join("")}a5000: "x"`,
      /levels of rules/,
    ],
    [
      `start: a0\n${Array.from({ length: 60 }, (_, i) => `a${i}: a${i + 1} a${i + 1}\n`).join("")}a60: "x"`,
      /characters/,
    ],
  ])("is refused: %j", (grammar, message) => {
    expect(() => larkPattern(grammar)).toThrow(GrammarRefusal);
    expect(() => larkPattern(grammar)).toThrow(message);
  });

  it.each([
    ["groups within each other", `start: ${"(".repeat(1000)}`, /levels deep/],
    ["a long way of rules", `start: a0\n${rules(5000, (index) => `a${index + 1}`)}`, /levels of rules/],
    ["rules that double", `start: a0\n${rules(60, (index) => `a${index + 1} a${index + 1}`)}`, /more than 65536 char/],
    [
      "many long rules",
      `start: ${'"x" | '.repeat(9)}a0\n${rules(200, (index) => `"${"y".repeat(99)}" a${index + 1}`)}`,
      /more than 65536/,
    ],
    ["a long text", `start: "${"x".repeat(70_000)}"`, /more than 65536 characters/],
  ])("is refused before it takes time or memory: %s", (_, grammar, message) => {
    const started = performance.now();
    expect(() => larkPattern(grammar)).toThrow(message);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it.each(["?", "!", '"', '\\"', "/", "(", "[", "a", "a:", "#", "//", "\n", "-", "9", "start:", "~", ".."])(
    "of %j alone takes little time",
    (unit) => {
      const started = performance.now();
      try {
        larkPattern(`start: "${unit.repeat(130_000 / unit.length)}`);
        larkPattern(unit.repeat(130_000 / unit.length));
      } catch (error) {
        expect(error).toBeInstanceOf(GrammarRefusal);
      }
      expect(performance.now() - started).toBeLessThan(2000);
    },
  );
});

describe("a regular expression", () => {
  it.each([
    ["a|b", ["a", "b"], ["ab", "xa"]],
    ["^ab$", ["ab"], ["abc", "xab"]],
    ["^a|b$", ["a", "b"], ["ab", "xb"]],
    ["a\\$", ["a$"], ["a"]],
    ["a\\\\$", ["a\\"], ["a"]],
    ["(a|b)c", ["ac", "bc"], ["a"]],
    ["(?P<day>\\d)(?P<n>.)", ["1x", "1\r"], ["1\n"]],
    ["[(?P<.|]", ["(", "<", ".", "|"], ["x"]],
    ["\\(?P", ["(P", "P"], ["?P"]],
  ])("%s is matched as a whole", (source, good, bad) => {
    expect(matches(wholeMatch(source).pattern, [...good, ...bad])).toEqual(good);
  });
});
