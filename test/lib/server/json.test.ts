import { describe, expect, it } from "vitest";
import { maxDepth, maxNodes, maxValues, refuseExcess } from "../../../lib/server/bodies/json-structure.js";
import { jsonPieces } from "../../../lib/server/http/json-pieces.js";
import { seededRandom } from "../../support/random.js";

/** A JSON value, and sometimes a value that JSON does not have. */
function anyValue(random: () => number, depth = 0): unknown {
  const pick = <T>(values: readonly T[]) => values[Math.floor(random() * values.length)]!;
  const kind = pick(depth < 4 ? ["plain", "list", "object", "long", "toJSON"] : ["plain"]);
  const some = (most: number) => Array.from({ length: Math.floor(random() * most) }, () => anyValue(random, depth + 1));
  if (kind === "list") return some(6);
  if (kind === "object")
    return Object.fromEntries(some(6).map((value, i) => [pick(["a", '"', "é\n", "0"]) + i, value]));
  if (kind === "long") return Array.from({ length: 70 }, () => pick([1, "x", null, undefined]));
  if (kind === "toJSON") return { toJSON: () => pick([1, "x", undefined, [1]]) };
  return pick([0, -1.5, 1e300, Number.NaN, "", 'te"xt\u2028\ud800', true, null, undefined, () => 1, Symbol("s")]);
}

describe("JSON in pieces", () => {
  it("is what JSON.stringify writes", () => {
    for (let seed = 0; seed < 300; seed++) {
      const value = { value: anyValue(seededRandom(seed)) };
      const stable = JSON.parse(JSON.stringify(value)) as object;
      expect([...jsonPieces(stable)].join("")).toBe(JSON.stringify(stable));
      expect([...jsonPieces(value)].join("")).toMatch(/^\{.*\}$/s);
    }
    const odd = {
      a: undefined,
      b: [undefined, () => 1, Number.NaN],
      c: new Date(0),
      d: { toJSON: () => [1] },
      e: [[]],
    };
    const wide = { ...odd, ...Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`k${i}`, odd])) };
    expect([...jsonPieces(wide)].join("")).toBe(JSON.stringify(wide));
    expect([...jsonPieces(null)].join("")).toBe("null");
  });

  it("is cut into pieces, however it nests", () => {
    const value = {
      choices: [{ logprobs: { content: Array.from({ length: 20_000 }, (_, i) => ({ i, top: [{ i }] })) } }],
    };
    const pieces = [...jsonPieces(value)];
    expect(pieces.join("")).toBe(JSON.stringify(value));
    expect(pieces.length).toBeGreaterThan(5);
    for (const piece of pieces) expect(piece.length).toBeLessThan(70_000);
  });

  it("has typed arrays and whatever can be iterated over as lists", () => {
    const tokens = Uint32Array.from({ length: 100 }, (_, i) => i);
    const iterated = new Set(["a", "b"]);
    const told = [...jsonPieces({ tokens, iterated })].join("");
    expect(JSON.parse(told)).toEqual({ tokens: [...tokens], iterated: ["a", "b"] });
  });
});

describe("the structure of a JSON text", () => {
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

  it("has a limit of levels, nodes and values", () => {
    expect(() => refuseExcess(Buffer.from(nested(maxDepth)))).not.toThrow();
    expect(() => refuseExcess(Buffer.from(nested(maxDepth + 1)))).toThrow("levels");
    expect(() => refuseExcess(Buffer.from(`[${"{},".repeat(maxNodes - 1)}]`))).not.toThrow();
    expect(() => refuseExcess(Buffer.from(`[${"{},".repeat(maxNodes)}]`))).toThrow("objects");
    expect(() => refuseExcess(Buffer.from(`[${"1,".repeat(maxValues)}1]`))).not.toThrow();
    expect(() => refuseExcess(Buffer.from(`[${"1,".repeat(maxValues + 1)}1]`))).toThrow("values");
  });

  it("is not what stands in its strings", () => {
    const deep = nested(1000);
    for (const value of ['a"b[[', "\\", '\\"', '[{"', "x".repeat(10), '"'.repeat(7), "\\".repeat(7)]) {
      const body = JSON.stringify({ [value]: value, list: [value + deep] });
      expect(() => refuseExcess(Buffer.from(body))).not.toThrow();
    }
    // After a string that ends, levels count again.
    expect(() => refuseExcess(Buffer.from(`["\\\\",${deep}]`))).toThrow("levels");
  });

  it("is read to its end where a string has none", () => {
    expect(() => refuseExcess(Buffer.from('{"a'))).not.toThrow();
    expect(() => refuseExcess(Buffer.from('"\\'))).not.toThrow();
    expect(() => refuseExcess(Buffer.from(""))).not.toThrow();
  });
});
