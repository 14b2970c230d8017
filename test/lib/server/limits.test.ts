import { describe, expect, it } from "vitest";
import type { Generation } from "../../../lib/generation/generation.js";
import type { ApiError } from "../../../lib/server/index.js";
import { ClientLimits } from "../../../lib/server/limits/limits.js";
import { testClock } from "../../support/server-operations.js";

describe("ClientLimits", () => {
  it("gives back what was used at the rate that was asked for, and never more than a minute's worth", () => {
    const { clock, pass } = testClock();
    const limits = new ClientLimits({ requestsPerMinute: 60, tokensPerMinute: 1000, concurrentRequests: 1000, clock });
    const takes = () => {
      for (let taken = 0; ; taken++) {
        try {
          limits.enter("a");
        } catch {
          return taken;
        }
      }
    };
    expect(takes()).toBe(60);
    pass(10_500);
    expect(takes()).toBe(10);
    pass(500);
    expect(takes()).toBe(1);
    pass(3_600_000);
    expect(takes()).toBe(60);
  });

  it("forgets clients that have nothing to be remembered for, and only those", () => {
    const { clock, pass } = testClock();
    const limits = new ClientLimits({ requestsPerMinute: 1, tokensPerMinute: 1000, concurrentRequests: 1, clock });
    const running = limits.enter("running");
    const visit = (count: number, from: number) => {
      for (let i = 0; i < count; i++) limits.enter(`client ${from + i}`).leave();
    };
    visit(4000, 0);
    pass(59_000);
    limits.enter("recent").leave();
    pass(1000);
    visit(4000, 4000);
    expect(limits.size).toBeLessThan(4100);
    expect(() => limits.enter("recent")).toThrow("requests per minute");
    expect(() => limits.enter("running")).toThrow("at once");
    running.leave();
    limits.enter("running");
  });

  const any = Number.MAX_SAFE_INTEGER;
  const unlimited = { requestsPerMinute: any, tokensPerMinute: any, concurrentRequests: any };
  const generated = (promptTokens: number, completionTokens: number) =>
    ({ promptTokens: new Uint32Array(promptTokens), completionTokens }) as Generation;
  const refusal = (work: () => void) => {
    try {
      work();
    } catch (error) {
      const { status, code, param, retryAfter } = error as ApiError;
      return { status, code, param, retryAfter };
    }
    return null;
  };

  it("count a body as what it asks for, and refuse at once what no wait would let in", () => {
    const { clock } = testClock();
    const limits = new ClientLimits({ ...unlimited, requestsPerMinute: 100, concurrentRequests: 8, clock });
    const ticket = limits.enter("a");
    ticket.ask(8, "n");
    expect(refusal(() => limits.enter("a"))).toMatchObject({ status: 429, code: "concurrency_limit_exceeded" });
    limits.enter("b").ask(7, "n");
    ticket.leave();
    const next = limits.enter("a");
    expect(refusal(() => next.ask(9, "prompt"))).toMatchObject({ status: 400, param: "prompt" });
    next.leave();
    for (let i = 0; i < 11; i++) {
      const one = limits.enter("a");
      one.ask(8, "n");
      one.leave();
    }
    const last = limits.enter("a"); // the 98th
    expect(refusal(() => last.ask(4, "n"))).toMatchObject({ status: 429, code: "rate_limit_exceeded", retryAfter: 1 });
    last.leave();
  });

  it("take tokens for prompts and answers, and give back at the end what was not used", () => {
    const { clock, pass } = testClock();
    const limits = new ClientLimits({ ...unlimited, tokensPerMinute: 6000, clock });
    let told: Record<string, string> = {};
    const ticket = limits.enter("a", (headers) => {
      told = headers;
    });
    ticket.reserve(1000, 4, 1000);
    expect(told).toEqual({
      "x-ratelimit-limit-tokens": "6000",
      "x-ratelimit-remaining-tokens": "1000",
      "x-ratelimit-reset-tokens": "50s",
    });
    const second = limits.enter("a");
    expect(refusal(() => second.reserve(500, 1, 1000))).toMatchObject({ status: 429, retryAfter: 5 });
    expect(refusal(() => limits.enter("b").reserve(500, 1, 1000))).toBe(null);
    ticket.count(generated(1000, 250));
    ticket.leave(); // 1,250 of 5,000 were used
    second.reserve(3750, 1, 1000);
    expect(refusal(() => second.reserve(1, 1, 1))).toMatchObject({ status: 429 });
    // An answer without a maximum may use more than was reserved; later requests pay for it.
    second.count(generated(3750, 4000));
    second.leave();
    pass(29_000);
    expect(refusal(() => limits.enter("a").reserve(1, 1, 1))).toMatchObject({ status: 429, retryAfter: 2 });
    pass(2000);
    expect(refusal(() => limits.enter("a").reserve(1, 1, 1))).toBe(null);
  });

  it("let in what is larger than a minute's worth once a whole minute's is there", () => {
    const { clock, pass } = testClock();
    const limits = new ClientLimits({ ...unlimited, tokensPerMinute: 600, clock });
    const ticket = limits.enter("a");
    ticket.reserve(5000, 1, 1000);
    ticket.count(generated(5000, 1000));
    ticket.leave();
    pass(9 * 60_000);
    expect(refusal(() => limits.enter("a").reserve(5000, 1, 1000))).toMatchObject({ status: 429, retryAfter: 60 });
    pass(60_000);
    expect(refusal(() => limits.enter("a").reserve(5000, 1, 1000))).toBe(null);
  });
});
