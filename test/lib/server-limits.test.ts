import { describe, expect, it } from "vitest";
import { ClientLimits } from "../../lib/server/limits.js";
import { testClock } from "../support/server-operations.js";

describe("ClientLimits", () => {
  it("gives back what was used at the rate that was asked for, and never more than a minute's worth", () => {
    const { clock, pass } = testClock();
    const limits = new ClientLimits({ requestsPerMinute: 60, concurrentRequests: 1000, clock });
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
    const limits = new ClientLimits({ requestsPerMinute: 1, concurrentRequests: 1, clock });
    const leave = limits.enter("running");
    const visit = (count: number, from: number) => {
      for (let i = 0; i < count; i++) limits.enter(`client ${from + i}`)();
    };
    visit(4000, 0);
    pass(59_000);
    limits.enter("recent")();
    pass(1000);
    visit(4000, 4000);
    expect(limits.size).toBeLessThan(4100);
    expect(() => limits.enter("recent")).toThrow("requests per minute");
    expect(() => limits.enter("running")).toThrow("at once");
    leave();
    limits.enter("running");
  });
});
