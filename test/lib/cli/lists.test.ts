import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { counts, countsTo, names, rates } from "../../../lib/cli/options/lists.js";
import { decimalIn, integerIn } from "../../../lib/cli/options/values.js";

/** Lists and numbers of the command line. */

describe("a list", () => {
  it("has each value once, in the order of the words", () => {
    expect(counts("4,1, 4,01,2")).toEqual([4, 1, 2]);
    expect(rates("2,0.5,2.0")).toEqual([2, 0.5]);
    expect(countsTo(3)("3,1,3")).toEqual([3, 1]);
    expect(names("b, a,")).toEqual(["b", "a"]);
  });

  it.each(["", "0", "-1", "1.5", "1,,2", "x", "9007199254740993", "1e3"])("of counts is not %j", (text) => {
    expect(() => counts(text)).toThrow(InvalidArgumentError);
  });

  it("says its greatest count", () => {
    expect(() => countsTo(8)("1,9")).toThrow("Expected integers in [1, 8].");
  });
});

describe("a number in a range", () => {
  it.each(["0", "3", "+2"])("can be %j", (text) => {
    expect(integerIn(0, 3)(text)).toBe(Number(text));
    expect(decimalIn(0, 3)(text)).toBe(Number(text));
  });

  it.each([
    ["-1", "Expected an integer in [0, 3].", "Expected a number in [0, 3]."],
    ["4", "Expected an integer in [0, 3].", "Expected a number in [0, 3]."],
    ["x", "Expected an integer.", "Expected a number."],
    ["", "Expected an integer.", "Expected a number."],
    ["Infinity", "Expected an integer.", "Expected a number."],
  ])("is not %j", (text, integer, decimal) => {
    expect(() => integerIn(0, 3)(text)).toThrow(integer);
    expect(() => decimalIn(0, 3)(text)).toThrow(decimal);
  });
});
