import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

/** Runs the C++ test executable once and shows each of its cases here. */
const executable = [".", "Release"]
  .map((folder) => path.resolve(`.cmake/${process.platform}-${process.arch}`, folder, "oss_tests"))
  .find(existsSync);

describe("C++", () => {
  if (!executable) {
    it("is built", () => expect.fail('oss_tests is missing: "npm test" builds it'));
    return;
  }
  const run = spawnSync(executable, { encoding: "utf8", maxBuffer: 2 ** 28 });
  const cases: { name: string; passed: boolean; reasons: string[] }[] = [];
  for (const line of run.stdout.split("\n")) {
    const header = /^(ok|FAIL) (.*)$/.exec(line);
    if (header) cases.push({ name: header[2]!, passed: header[1] === "ok", reasons: [] });
    else if (line.startsWith("  ")) cases.at(-1)?.reasons.push(line.trim());
  }
  for (const { name, passed, reasons } of cases) {
    it(name, () => {
      if (!passed) expect.fail(reasons.join("\n"));
    });
  }
  it(`runs to its end (${cases.length} cases)`, () => {
    expect(cases.length).toBeGreaterThan(0);
    expect(run.stdout).toMatch(/^\d+ passed, \d+ failed$/m);
    expect(run.signal).toBeNull();
    // the emulated GPU tells of the faults that its tests cause
    expect(run.stderr.split("\n").filter((line) => line && !line.startsWith("emulated device: "))).toEqual([]);
  });
});
