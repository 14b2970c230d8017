import { describe, expect, it } from "vitest";
import { LazyList, SpelledTokens } from "../../../lib/chat/spelled-tokens.js";
import type { GeneratedToken } from "../../../lib/generation/results.js";
import { TokenLog } from "../../../lib/generation/token-log.js";
import { jsonPieces } from "../../../lib/server/http/json-pieces.js";
import { tokenBytes } from "../../../lib/tokenizer/token-table.js";

/** Returns a token with up to three likeliest ones. */
function token(at: number): GeneratedToken {
  const top = Array.from({ length: at % 4 }, (_, i) => ({ token: 201_087 - i, logprob: -(i + at) / 4 }));
  const generated = { token: at * 7, text: `t${at}`, logprob: -at / 8, index: at % 3 };
  return { ...generated, ...(top.length > 0 && { top }) };
}

const some = (length: number) => Array.from({ length }, (_, at) => token(at));

function filled(length: number): TokenLog {
  const log = new TokenLog(3);
  for (const generated of some(length)) log.push(generated);
  return log;
}

describe("TokenLog", () => {
  it.each([0, 1, 63, 64, 65, 500])("returns %i tokens unchanged", (length) => {
    const log = filled(length);
    expect(log.length).toBe(length);
    expect(log.slice(0, length)).toEqual(some(length));
    expect(log.slice(10, 20)).toEqual(some(length).slice(10, 20));
    expect(log.slice(60, 1000)).toEqual(some(length).slice(60));
  });

  it("frees earlier tokens, in chunks", () => {
    const log = filled(1000);
    const whole = log.bytes;
    log.forget(63);
    expect(log.bytes).toBe(whole);
    log.forget(900);
    log.forget(100);
    expect(log.bytes).toBeLessThan(whole / 7);
    expect(log.length).toBe(1000);
    expect(log.slice(900, 1000)).toEqual(some(1000).slice(900));
    log.push(token(1000));
    log.forget(1001);
    expect(log.slice(0, 2000)).toEqual(some(1001).slice(960));
  });

  it("amends a token that is kept, and no other", () => {
    const log = filled(100);
    const last = { finishReason: "stop", cachedTokens: 4 } as const;
    log.amend(70, "!", last);
    log.amend(80, "?", undefined);
    log.forget(64);
    log.amend(63, "!", last);
    expect(log.slice(0, 100)).toEqual(
      some(100)
        .slice(64)
        .map((generated, i) => {
          if (i === 6) return { ...generated, text: "t70!", last };
          return i === 16 ? { ...generated, text: "t80?" } : generated;
        }),
    );
  });

  it("keeps no more likeliest tokens than it has places for", () => {
    const log = new TokenLog(1);
    log.push(token(3));
    log.push(token(0));
    expect(log.slice(0, 2)).toEqual([{ ...token(3), top: token(3).top!.slice(0, 1) }, token(0)]);
  });

  it("takes 200 bytes for a token with the likeliest twenty", () => {
    const log = new TokenLog(20);
    const top = Array.from({ length: 20 }, (_, i) => ({ token: i, logprob: -i }));
    for (let at = 0; at < 6400; at++) log.push({ ...token(at), top });
    expect(log.bytes / 6400).toBeLessThan(220);
    expect(log.slice(6399, 6400)[0]!.top).toEqual(top);
  });
});

describe("SpelledTokens", () => {
  it("are the tokens of the text, cut ones included, at every read", () => {
    const spelled = some(200).map((generated, i) => {
      const bytes = tokenBytes(generated.token);
      return { token: generated, bytes: i % 50 === 0 ? bytes.subarray(bytes.length) : bytes };
    });
    const tokens = new SpelledTokens(3);
    tokens.push(spelled.slice(0, 60));
    tokens.push(spelled.slice(60));
    expect([...tokens]).toEqual(spelled);
    const list = new LazyList(tokens, ({ token: { token: id }, bytes }) => ({ id, bytes: bytes.length }));
    const text = JSON.stringify(spelled.map(({ token: { token: id }, bytes }) => ({ id, bytes: bytes.length })));
    for (let i = 0; i < 2; i++) expect([...jsonPieces(list)].join("")).toBe(text);
  });
});
