import { describe, expect, it } from "vitest";
import { BoundedCache, SharedBound } from "../../../lib/common/bounded-cache.js";
import { seededRandom } from "../../support/random.js";

/** A cache with letters as keys and values. `held` has its content according to its change events. */
function filled(bound: SharedBound, letters: string, size = 1) {
  const held = new Set<string>();
  const cache = new BoundedCache<string>(bound, (letter, change) => {
    expect(held.has(letter)).toBe(change < 0);
    if (change > 0) held.add(letter);
    else held.delete(letter);
  });
  for (const letter of letters) cache.set(letter, letter, size);
  return Object.assign(cache, { held });
}

const keysOf = ({ held }: { held: Set<string> }) => [...held].sort().join("");

describe("BoundedCache", () => {
  it("evicts the least recently used entry, and stays within its bound", () => {
    const cache = filled(new SharedBound({ size: 40 }), "abcd", 10);
    expect(cache.size).toBe(40);
    expect(cache.get("a")).toBe("a");
    expect(cache.set("e", "e", 10)).toBe(true);
    expect(keysOf(cache)).toBe("acde");
    expect(cache.set("e", "E", 20)).toBe(true);
    expect(keysOf(cache)).toBe("Ead");
    expect(cache.set("f", "f", 41)).toBe(false);
    expect(cache.set("a", "A", 41)).toBe(false);
    expect(keysOf(cache)).toBe("Ed");
    expect(cache.delete("d")).toBe(true);
    expect(cache.delete("d")).toBe(false);
    expect([cache.entries, cache.size, cache.oldest]).toEqual([1, 20, { key: "e", value: "E" }]);
  });

  it("counts what an entry grows by, as a use of it, and evicts it when it outgrows the bound", () => {
    const bound = new SharedBound({ size: 40 });
    const [cache, other] = [filled(bound, "abc", 10), filled(bound, "x", 10)];
    expect(cache.grow("a", 10)).toBe(true);
    expect([keysOf(cache), cache.size, keysOf(other)]).toEqual(["ac", 30, "x"]);
    expect(bound.held).toEqual({ entries: 3, size: 40 });
    expect(cache.grow("b", 1)).toBe(false);
    expect(cache.grow("a", 5)).toBe(true);
    expect([keysOf(cache), cache.size]).toEqual(["a", 25]);
    expect(cache.grow("a", 20)).toBe(false);
    expect([keysOf(cache), cache.size]).toEqual(["", 0]);
    expect(bound.held).toEqual({ entries: 1, size: 10 });
  });

  it("stores nothing once closed, and leaves its room to others", () => {
    const bound = new SharedBound({ size: 4 });
    const [gone, other] = [filled(bound, "abc"), filled(bound, "x")];
    gone.close();
    expect(gone.set("d", "d", 1)).toBe(false);
    expect([gone.entries, gone.size, gone.oldest]).toEqual([0, 0, undefined]);
    for (const key of "yzw") other.set(key, key, 1);
    expect(keysOf(other)).toBe("wxyz");
    expect(bound.held).toEqual({ entries: 4, size: 4 });
  });
});

describe("SharedBound", () => {
  it("evicts from the largest cache, and of two equal ones not from the one with the latest addition", () => {
    const bound = new SharedBound({ size: 6 });
    const [a, b, c] = [filled(bound, "abcd"), filled(bound, "k"), filled(bound, "x")];
    c.set("y", "y", 1);
    expect([a, b, c].map(keysOf)).toEqual(["bcd", "k", "xy"]);
    c.set("z", "z", 1);
    expect([a, b, c].map(keysOf)).toEqual(["cd", "k", "xyz"]);
    b.set("l", "l", 1);
    expect([a, b, c].map(keysOf)).toEqual(["cd", "kl", "yz"]);
    b.set("m", "m", 1);
    expect([a, b, c].map(keysOf)).toEqual(["cd", "lm", "yz"]);
  });

  it("bounds the number of entries in the same way", () => {
    const bound = new SharedBound({ entries: 3, size: 1000 });
    const [few, many] = [filled(bound, "a", 500), filled(bound, "xyz")];
    expect([few, many].map(keysOf)).toEqual(["a", "yz"]);
  });

  it("leaves each cache an even share, whatever the others do", () => {
    const random = seededRandom(17);
    const int = (from: number, to: number) => from + Math.floor(random() * (to - from + 1));
    for (let round = 0; round < 200; round++) {
      const count = int(2, 6);
      const bound = new SharedBound({ entries: 12 * count, size: 100 * count });
      const quiet = new BoundedCache<number>(bound);
      for (let key = 0; key < 12; key++) quiet.set(`${key}`, key, 8);
      const others = Array.from({ length: count - 1 }, () => new BoundedCache<number>(bound));
      for (let step = 0; step < 300; step++) {
        others[int(0, others.length - 1)]!.set(`${int(0, 99)}`, step, int(0, 120));
        expect(bound.held.entries).toBeLessThanOrEqual(bound.entries);
        expect(bound.held.size).toBeLessThanOrEqual(bound.size);
        expect(quiet.entries).toBe(12);
      }
      const all = [quiet, ...others];
      expect(all.reduce((sum, { entries }) => sum + entries, 0)).toBe(bound.held.entries);
      expect(all.reduce((sum, { size }) => sum + size, 0)).toBe(bound.held.size);
    }
  });
});
