import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { isThorough } from "./support/thorough.js";

/**
 * Runs the C++ test executable once and lists each of its cases here. The cases that compute much, most of them
 * on the emulated GPU, take five minutes together: only thorough runs include them, and those runs skip the others.
 */
const slow = JSON.parse(readFileSync("test/slow-native-cases.json", "utf8")) as string[];
const executable = [".", "Release"]
  .map((folder) => path.resolve(`.cmake/${process.platform}-${process.arch}`, folder, "oss_tests"))
  .find(existsSync);

describe("C++", () => {
  if (!executable) {
    it("is built", () => expect.fail('oss_tests is missing: "npm test" builds it'));
    return;
  }
  const names = spawnSync(executable, ["--list"], { encoding: "utf8" }).stdout.trim().split("\n");
  const wanted = names.filter((name) => slow.some((begin) => name.startsWith(begin)) === isThorough);
  const run = spawnSync(executable, wanted, { encoding: "utf8", maxBuffer: 2 ** 28 });
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
    expect(cases.map(({ name }) => name)).toEqual(wanted);
    expect(run.stdout).toMatch(/^\d+ passed, \d+ failed$/m);
    expect(run.signal).toBeNull();
    // the emulated GPU reports the faults that its tests cause
    expect(run.stderr.split("\n").filter((line) => line && !line.startsWith("emulated device: "))).toEqual([]);
  });
});
