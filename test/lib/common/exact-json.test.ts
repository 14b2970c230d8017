import { describe, expect, it } from "vitest";
import { exactJson, parseJson } from "../../../lib/common/exact-json.js";
import { JsonNumber } from "../../../lib/common/raw-json.js";

describe("JSON text", () => {
  it("equals the text of JSON.stringify", () => {
    const values = [
      null,
      true,
      'q"\\\n\u2028\ud800é',
      [1, undefined, () => 1, [[]]],
      { a: undefined, b: { c: [Number.NaN, -0, 1e21, 0.1, 1e-7] }, 10: 1, 2: 2 },
      new Date(0),
      { toJSON: (key: string) => [key] },
      { deep: { toJSON: (key: string) => key } },
      Object.create({ inherited: 1 }, { own: { value: 1, enumerable: true } }),
      [Object(1), Object("a"), Object(false)],
      JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}'),
      new Map([[1, 2]]),
    ];
    for (const value of values) expect(exactJson(value)).toBe(JSON.stringify(value));
  });

  it("has every digit of an integer", () => {
    const wide = {
      a: 2 ** 60,
      b: -(2 ** 63),
      c: 2n ** 63n - 1n,
      d: [new JsonNumber("9007199254740993")],
      e: 1e20,
      f: 1e22,
    };
    expect(exactJson(wide)).toBe(
      '{"a":1152921504606846976,"b":-9223372036854775808,"c":9223372036854775807,"d":[9007199254740993],"e":100000000000000000000,"f":1e+22}',
    );
  });

  it("is refused for a value without JSON text, and for a cyclic one", () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    expect(() => exactJson(cyclic)).toThrow("More than 200 levels");
    for (const value of [undefined, () => 1, Symbol("a")])
      expect(() => exactJson(value)).toThrow("Expected a JSON value");
  });
});

describe("JSON that is read", () => {
  const text = `{"seed": 9007199254740993, "at": {"schema": {"maximum": 9223372036854775807, "__proto__": {"x": 1},
    "enum": [12345678901234567890, 1764400000000000, 1.5, "9007199254740993", 1152921504606846976]}}}`;
  const inSchema = (path: readonly string[]) => path.join(".") === "at.schema";

  it("has exact integers where they are requested", () => {
    const value = parseJson(text, inSchema) as { seed: number; at: { schema: Record<string, unknown> } };
    expect(value.seed).toBe(9007199254740992);
    const { maximum, enum: listed } = value.at.schema;
    expect(maximum).toEqual(new JsonNumber("9223372036854775807"));
    expect(listed).toEqual([
      new JsonNumber("12345678901234567890"),
      1764400000000000,
      1.5,
      "9007199254740993",
      2 ** 60,
    ]);
    expect(exactJson(value.at)).toContain('"maximum":9223372036854775807');
    expect(exactJson(value.at)).toContain("[12345678901234567890,1764400000000000,1.5,");
    expect(JSON.parse(JSON.stringify(value))).toEqual(JSON.parse(text));
  });

  it("otherwise equals the result of JSON.parse", () => {
    for (const other of ['{"a":[1,{"b":null}]}', "5", '"[1234567890123456]"', '{"text": "id:1234567890123456789"}'])
      expect(parseJson(other, inSchema)).toEqual(JSON.parse(other));
    for (const bad of ["", "{", '{"a":12345678901234567890', "[01]"]) expect(() => parseJson(bad, inSchema)).toThrow();
  });

  it("keeps members of every name, and has only Object's prototype", () => {
    const value = parseJson(text, inSchema) as { at: { schema: object } };
    expect(Object.keys(value.at.schema)).toContain("__proto__");
    expect(Object.getPrototypeOf(value.at.schema)).toBe(Object.prototype);
    expect((value.at.schema as { x?: unknown }).x).toBeUndefined();
  });
});
