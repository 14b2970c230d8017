import { describe, expect, it } from "vitest";
import { StopMatcher } from "../../../lib/chat/stop-matcher.js";
import { seededRandom } from "../../support/random.js";

/** Returns the text for successive pieces, and the stop string that ended it. */
function read(stops: string[], pieces: string[]): { text: string; stop: string | null } {
  const matcher = new StopMatcher(stops);
  let text = "";
  for (const piece of pieces) {
    const { text: certain, stop } = matcher.push(piece);
    text += certain;
    if (stop !== null) return { text, stop };
  }
  return { text: text + matcher.flush(), stop: null };
}

/** The definition: the stop string that ends first counts; of those with the same end, the longest counts. */
function expected(stops: string[], text: string): { text: string; stop: string | null } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length);
    if (found[0] !== undefined) return { text: text.slice(0, end - found[0].length), stop: found[0] };
  }
  return { text, stop: null };
}

describe("StopMatcher", () => {
  it.each([
    [["stop"], ["a st", "o", "p b"], "a ", "stop"],
    [["aab"], ["aa", "a", "b"], "a", "aab"],
    [["abcd", "bc"], ["abc", "d"], "a", "bc"],
    [["b", "ab"], ["xab"], "x", "ab"],
    [["stop"], ["sto", "ne"], "stone", null],
    [["🙂!"], ["🙂", "🙂", "!"], "🙂", "🙂!"],
  ])("finds one of %j in %j", (stops, pieces, text, stop) => {
    expect(read(stops, pieces)).toEqual({ text, stop });
  });

  it("returns text at once that cannot become a stop string", () => {
    const matcher = new StopMatcher(["xyz"]);
    expect([matcher.push("axy").text, matcher.push("b").text, matcher.push("x").text]).toEqual(["a", "xyb", ""]);
    expect([matcher.flush(), matcher.push("yz").text]).toEqual(["x", "yz"]);
  });

  it("follows its definition for any pieces", () => {
    const random = seededRandom(3);
    const letters = (most: number) =>
      Array.from({ length: 1 + Math.floor(random() * most) }, () => (random() < 0.6 ? "a" : "b")).join("");
    for (let i = 0; i < 2000; i++) {
      const stops = Array.from(
        { length: 1 + Math.floor(random() * 3) },
        () => `${letters(4)}${random() < 0.5 ? "c" : ""}`,
      );
      const pieces = Array.from({ length: 8 }, () => letters(3) + (random() < 0.2 ? "c" : ""));
      expect(read(stops, pieces), JSON.stringify([stops, pieces])).toEqual(expected(stops, pieces.join("")));
    }
  });
});
