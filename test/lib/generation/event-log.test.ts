import { describe, expect, it } from "vitest";
import { EventLog, goOnAt, holdAt } from "../../../lib/generation/event-log.js";
import type { GeneratedToken } from "../../../lib/generation/results.js";
import { TokenLog } from "../../../lib/generation/token-log.js";

describe("EventLog", () => {
  function filled(items: number) {
    const holds: boolean[] = [];
    const log = new EventLog<number>([], (held) => holds.push(held));
    for (let i = 0; i < items; i++) log.push(i);
    return { log, holds };
  }
  const nothing = () => {};

  it("never asks to hold without a reader", () => {
    expect(filled(10 * holdAt).holds).toEqual([]);
  });

  it("asks to hold when a reader is more than 1,024 behind, and to resume at 256", async () => {
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
    await reader.next(); // an item counts as read when the next one is requested
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

  it("frees the items that all have read once one reader asks for it, and none before", async () => {
    const tokens = new TokenLog(0);
    const log = new EventLog<GeneratedToken, TokenLog>(tokens, () => {});
    const push = (count: number) => {
      for (let i = 0; i < count; i++) log.push({ token: log.items.length, text: "", logprob: 0, index: 0 });
    };
    push(640);
    const whole = tokens.bytes;
    const slow = log.readBatches(nothing, { most: 64 });
    await slow.next();
    const only = log.readBatches(nothing, { most: 320, keep: false });
    await only.next();
    expect(tokens.bytes).toBe((whole / 10) * 9); // the items that both readers have read are freed
    await slow.return();
    const batch = await only.next();
    expect((batch.value as GeneratedToken[]).map(({ token }) => token)).toEqual(
      [...Array(320).keys()].map((i) => 320 + i),
    );
    expect(tokens.bytes).toBe(0);
    for (let i = 0; i < 100; i++) {
      push(64);
      await only.next();
      expect(tokens.bytes).toBe(0);
    }
    expect(log.items.length).toBe(7040);
    push(1);
    const late = log.read(nothing);
    expect((await late.next()).value).toMatchObject({ token: 7040 });
  });

  it("asks no more once it has ended", async () => {
    const { log, holds } = filled(holdAt + 2);
    log.end();
    let read = 0;
    for await (const _ of log.read(nothing)) read++;
    expect(read).toBe(holdAt + 2);
    expect(holds).toEqual([]);
  });
});
