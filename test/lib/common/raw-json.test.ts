import { describe, expect, it } from "vitest";
import {
  compactJson,
  isJsonObject,
  JsonNumber,
  member,
  members,
  numberText,
  readJson,
} from "../../../lib/common/raw-json.js";
import { seededRandom } from "../../support/random.js";

/** Converts a value into the form of `JSON.parse`. */
function plain(value: unknown): unknown {
  if (value instanceof JsonNumber) return Number(value.lexeme);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return value;
}

describe("readJson", () => {
  const random = seededRandom(3);
  const strings = ["", "a", 'q"', "\\", "\n\u0001", "é東😀", "\ud800", "10", "2", "__proto__", "\u2028"];
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;

  function anyValue(depth: number): unknown {
    const kind = random();
    if (kind < 0.2) return pick([true, false, null]);
    if (kind < 0.4) return pick([0, -1, 1.5, 1e21, -2.5e-9, 123456789012]);
    if (kind < 0.6 || depth > 4) return pick(strings);
    const items = Array.from({ length: Math.floor(random() * 4) }, () => anyValue(depth + 1));
    return kind < 0.8 ? items : Object.fromEntries(items.map((item) => [pick(strings.slice(1)), item]));
  }

  it("reads the same as JSON.parse, in both spellings of white space", () => {
    for (let round = 0; round < 2000; round++) {
      const value = anyValue(0);
      for (const text of [JSON.stringify(value), JSON.stringify(value, null, "\t")]) {
        expect(plain(readJson(text, "it"))).toEqual(JSON.parse(text));
      }
    }
  });

  it("refuses the same texts as JSON.parse", () => {
    const valid = '{"a":[1,-2.5e3,true,null],"b":"x\\n"}';
    for (let at = 0; at < valid.length; at++) {
      for (const text of [
        valid.slice(0, at),
        valid.slice(0, at) + valid.slice(at + 1),
        `${valid.slice(0, at)}~${valid.slice(at)}`,
      ]) {
        let accepted = true;
        try {
          JSON.parse(text);
        } catch {
          accepted = false;
        }
        if (accepted) expect(plain(readJson(text, "it"))).toEqual(JSON.parse(text));
        else expect(() => readJson(text, "it")).toThrow(/at position \d+ of it but received/);
      }
    }
  });

  it("keeps the written order of keys; a repeated key keeps its first place and takes its last value", () => {
    const value = readJson('{"b":1,"2":2,"1":3,"b":4}', "it");
    expect(compactJson(value)).toBe('{"b":4,"2":2,"1":3}');
  });

  it("reads a long string in linear time", () => {
    const text = JSON.stringify("é\n".repeat(2_000_000));
    expect(readJson(text, "it")).toHaveLength(4_000_000);
  });
});

describe("numbers are printed as the reference prints them", () => {
  it.each([
    ["1", "1"],
    ["-0", "-0.0"],
    ["1.0", "1.0"],
    ["2.50", "2.5"],
    ["1e3", "1000.0"],
    ["1E-7", "1e-7"],
    ["0.00001", "0.00001"],
    ["0.000001", "1e-6"],
    ["1.5e-9", "1.5e-9"],
    ["1e15", "1000000000000000.0"],
    ["1e16", "1e16"],
    ["123456789012345678.0", "1.2345678901234568e17"],
    ["18446744073709551615", "18446744073709551615"],
    ["18446744073709551616", "1.8446744073709552e19"],
    ["-9223372036854775808", "-9223372036854775808"],
    ["-9223372036854775809", "-9.223372036854776e18"],
    ["0e5", "0.0"],
    ["-1.25e2", "-125.0"],
  ])("%s → %s", (lexeme, text) => expect(numberText(lexeme)).toBe(text));

  it("from JavaScript values too", () => {
    expect(compactJson([1, 1.5, -0, 1e21, 2 ** 53, Number.NaN, "a\n", { b: [true, null], c: undefined }])).toBe(
      '[1,1.5,0,1e21,9007199254740992,null,"a\\n",{"b":[true,null]}]',
    );
  });
});

describe("members", () => {
  it("of read and of plain objects, but not of arrays, numbers or prototypes", () => {
    for (const value of [{ a: 1 }, new Map([["a", 1]])]) {
      expect(isJsonObject(value)).toBe(true);
      expect(member(value, "a")).toBe(1);
      expect(member(value, "toString")).toBeUndefined();
      expect(members(value)).toEqual([["a", 1]]);
    }
    for (const value of [null, undefined, 1, "a", [1], new JsonNumber("1")]) {
      expect(isJsonObject(value)).toBe(false);
      expect(member(value, "length")).toBeUndefined();
      expect(members(value)).toEqual([]);
    }
  });
});
