import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";

/** A short slice of `npm run soak`, which has 20,000 requests. */

const run = promisify(execFile);

it("1,500 disturbed requests leave nothing behind", { timeout: 300_000 }, async () => {
  const { stdout } = await run(process.execPath, [
    "--import",
    "tsx",
    path.resolve("bench/soak.ts"),
    "--requests",
    "1500",
  ]);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ requests: 1500, violations: [] });
  const { stop, length, cancelled, aborted } = report.ends;
  expect(stop + length + cancelled + aborted).toBe(1500);
  // every kind of end was there, pages ran out and prefixes were found, or the run would show nothing
  expect(Math.min(stop, length, cancelled, aborted)).toBeGreaterThan(50);
  expect(report.preemptions).toBeGreaterThan(10);
  expect(report.cachedTokens).toBeGreaterThan(10_000);
});
