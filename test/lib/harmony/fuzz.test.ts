import { describe, expect, it, vi } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import { RecoveringParser, StreamableParser } from "../../../lib/harmony/index.js";
import { FuzzFailure, fuzz, shrink } from "../../fuzz/harmony.js";

/** A slice of `npm run fuzz`, and a test that it finds errors. */

it("200,000 random tokens break no rule of the parsers", () => {
  const report = fuzz(5, 200_000);
  expect(report.tokens).toBeGreaterThanOrEqual(200_000);
  expect(report.messages).toBeGreaterThan(1000);
  // Both kinds of end are common.
  expect(report.refusals).toBeGreaterThan(report.readings / 10);
  expect(report.refusals).toBeLessThan((report.readings * 9) / 10);
});

it("the same seed gives the same streams", () => {
  expect(fuzz(3, 5000)).toEqual(fuzz(3, 5000));
  expect(fuzz(3, 5000)).not.toEqual(fuzz(4, 5000));
});

describe("a parser that is wrong is found, on a short stream", () => {
  function failure(): FuzzFailure {
    try {
      fuzz(1, 100_000);
    } catch (error) {
      if (error instanceof FuzzFailure) return error;
      throw error;
    }
    throw new Error("nothing was found");
  }

  it("one that throws on a token", () => {
    const push = RecoveringParser.prototype.push;
    vi.spyOn(RecoveringParser.prototype, "push").mockImplementation(function (this: RecoveringParser, token) {
      if (token === 200003) throw new GptOssError("INVALID_ARGUMENT", "no");
      return push.call(this, token);
    });
    const { tokens, message } = failure();
    expect(tokens).toEqual([200003]);
    expect(message).toContain("seed 1, stream [200003]");
    vi.restoreAllMocks();
  });

  it("one that loses the end of a message", () => {
    const end = RecoveringParser.prototype.end;
    vi.spyOn(RecoveringParser.prototype, "end").mockImplementation(function (this: RecoveringParser) {
      return end.call(this).slice(1);
    });
    expect(failure().tokens.length).toBeLessThan(4);
    vi.restoreAllMocks();
  });

  it("a strict one that throws another error", () => {
    vi.spyOn(StreamableParser.prototype, "processEos").mockImplementation(() => {
      throw new TypeError("oops");
    });
    expect(failure().message).toContain("TypeError: oops");
    vi.restoreAllMocks();
  });
});

it("shrink keeps what is needed", () => {
  const stream = Array.from({ length: 100 }, (_, i) => i);
  expect(shrink(stream, (s) => s.includes(7) && s.includes(93) && s.indexOf(7) < s.indexOf(93))).toEqual([7, 93]);
  expect(shrink(stream, (s) => s.length >= 5)).toHaveLength(5);
});
