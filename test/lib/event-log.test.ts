import { describe, expect, it } from "vitest";
import { EventLog, goOnAt, holdAt } from "../../lib/event-log.js";

describe("EventLog", () => {
  function filled(items: number) {
    const holds: boolean[] = [];
    const log = new EventLog<number>((held) => holds.push(held));
    for (let i = 0; i < items; i++) log.push(i);
    return { log, holds };
  }
  const nothing = () => {};

  it("never asks to hold while nobody reads", () => {
    expect(filled(10 * holdAt).holds).toEqual([]);
  });

  it("asks to hold when a reader is more than 1,024 behind, and to go on at 256", async () => {
    const { log, holds } = filled(1);
    const reader = log.read(nothing);
    await reader.next();
    for (let i = 0; i < holdAt; i++) log.push(i);
    expect(holds).toEqual([]);
    log.push(0);
    expect(holds).toEqual([true]);
    for (let behind = holdAt + 1; behind > goOnAt; behind--) {
      expect(holds).toEqual([true]);
      await reader.next();
    }
    await reader.next(); // what is read counts when the next one is asked for
    expect(holds).toEqual([true, false]);
  });

  it("asks to hold as soon as a late reader begins, and measures the slowest of several", async () => {
    const { log, holds } = filled(holdAt + 2);
    const slow = log.read(nothing);
    await slow.next();
    expect(holds).toEqual([true]);
    const fast = log.read(nothing);
    for (let i = 0; i < holdAt + 2; i++) await fast.next();
    expect(holds).toEqual([true]);
    await slow.return();
    expect(holds).toEqual([true, false]);
  });

  it("asks for nothing once it has ended", async () => {
    const { log, holds } = filled(holdAt + 2);
    log.end();
    let read = 0;
    for await (const _ of log.read(nothing)) read++;
    expect(read).toBe(holdAt + 2);
    expect(holds).toEqual([]);
  });
});
