import { describe, expect, it } from "vitest";
import { ReasoningSeal } from "../../../lib/server/responses/reasoning-seal.js";

const secret = "s".repeat(32);
const seal = new ReasoningSeal([secret], "alice");

describe("ReasoningSeal", () => {
  it.each(["", "They greet.", "é 🌍 \u0000\n", "x".repeat(2 ** 20)])("gives back exactly what it sealed", (text) => {
    expect(seal.open(seal.seal(text))).toBe(text);
    expect(new ReasoningSeal([secret], "alice").open(seal.seal(text))).toBe(text);
  });

  it("shows nothing of the text, and seals the same text in another form each time", () => {
    const [one, other] = [seal.seal("They greet."), seal.seal("They greet.")];
    expect(one).toMatch(/^[\w-]+$/);
    expect(one).not.toBe(other);
    expect(Buffer.from(one, "base64url").toString("latin1")).not.toContain("greet");
  });

  it("opens nothing that is very long, because that would take time", () => {
    expect(seal.open(seal.seal("x".repeat(3_000_000)))).toHaveLength(3_000_000);
    expect(seal.open(seal.seal("x".repeat(4_000_000)))).toBeNull();
  });

  it("opens nothing of another secret or tenant", () => {
    const sealed = seal.seal("They greet.");
    expect(new ReasoningSeal(["t".repeat(32)], "alice").open(sealed)).toBeNull();
    expect(new ReasoningSeal([secret], "bob").open(sealed)).toBeNull();
  });

  it("seals with its first secret, and opens with all, while a secret is replaced", () => {
    const [older, newer] = ["o".repeat(32), "n".repeat(32)];
    const before = new ReasoningSeal([older], "alice").seal("Before.");
    const both = new ReasoningSeal([newer, older], "alice");
    const after = both.seal("After.");
    expect([both.open(before), both.open(after)]).toEqual(["Before.", "After."]);
    expect(new ReasoningSeal([newer], "alice").open(after)).toBe("After.");
    expect(new ReasoningSeal([older], "alice").open(after)).toBeNull();
    expect(new ReasoningSeal([newer], "alice").open(before)).toBeNull();
    expect(new ReasoningSeal([newer, older], "bob").open(before)).toBeNull();
  });

  it("opens nothing that is changed in any byte, cut anywhere, or longer", () => {
    const sealed = seal.seal("They greet.");
    const bytes = Buffer.from(sealed, "base64url");
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      expect(seal.open(changed.toString("base64url"))).toBeNull();
      expect(seal.open(bytes.subarray(0, at).toString("base64url"))).toBeNull();
    }
    for (let at = 0; at < sealed.length; at++) expect(seal.open(sealed.slice(0, at))).toBeNull();
    for (const more of ["A", "AAAA", "=", " ", "\n", "!"]) {
      expect(seal.open(sealed + more)).toBeNull();
      expect(seal.open(more + sealed)).toBeNull();
    }
    expect(seal.open(`${sealed.slice(0, 9)} ${sealed.slice(9)}`)).toBeNull();
  });

  it.each(["", "gAAAAABo", "AQ", "\ud800", "x".repeat(2 ** 20)])("opens no text of others: case %#", (text) => {
    expect(seal.open(text)).toBeNull();
  });
});
