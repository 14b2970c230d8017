import { describe, expect, it } from "vitest";
import type { BenchRow } from "../../../lib/bench/rows.js";
import { rowsOf } from "../../support/bench-rows.js";
import { run } from "../../support/cli.js";
import { Terminal } from "../../support/terminal.js";

/** `gpt-oss bench startup`. */

const tiny = ["bench", "startup", "synthetic:tiny", "--threads", "1"];

describe("gpt-oss bench startup", () => {
  it("prints a row of all starts", async () => {
    const started = performance.now();
    const { code, stdout, stderr } = await run([...tiny, "--rounds", "2", "--numerics", "exact", "--json"]);
    const milliseconds = performance.now() - started;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [row, ...others] = rowsOf(stdout) as [BenchRow, ...BenchRow[]];
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      bench: "startup",
      name: "start",
      parameters: { model: "synthetic:tiny", backend: "cpu", numerics: "exact", threads: 1, inputTokens: 16 },
      values: { firstToken: { unit: "ms", better: "less" }, resident: { unit: "bytes", better: "less" } },
      about: { interrupted: false, firstStartMilliseconds: expect.any(Number) },
    });
    expect(Object.keys(row.values)[0]).toBe("firstToken");
    const { firstToken, ready, imported, load, resident, residentPeak } = row.values;
    for (const i of [0, 1]) {
      expect(firstToken!.samples![i]).toBeGreaterThan(ready!.samples![i]!);
      expect(ready!.samples![i]! / (imported!.samples![i]! + load!.samples![i]!)).toBeCloseTo(1, 3);
      // Node alone has more than 30 MB.
      expect(resident!.samples![i]).toBeGreaterThan(30e6);
      expect(residentPeak!.samples![i]).toBeGreaterThanOrEqual(resident!.samples![i]!);
    }
    const all = row.about.firstStartMilliseconds! as number;
    expect(all + firstToken!.samples![0]! + firstToken!.samples![1]!).toBeLessThan(milliseconds);
  });

  it("counts the memory of the model", async () => {
    const peakOf = async (model: string) => {
      const { stdout } = await run(["bench", "startup", model, "--threads", "1", "--rounds", "1", "--json"]);
      return rowsOf(stdout)[0]!.values.residentPeak!.median;
    };
    // 431 MB of weights
    expect((await peakOf("synthetic:small")) - (await peakOf("synthetic:tiny"))).toBeGreaterThan(350e6);
  });

  it("stops at Ctrl-C, with the starts until then and 130", async () => {
    const terminal = new Terminal([...tiny, "--rounds", "100000"], { columns: 200 });
    await terminal.until("start 2 of 100000");
    terminal.type("\u0003");
    expect(await terminal.ended()).toBe(130);
    expect(terminal.text).toMatch(/^start +[\d.]+/m);
  });

  it("prints nothing at Ctrl-C in the first start", async () => {
    const terminal = new Terminal([...tiny, "--json"], { columns: 200 });
    await terminal.until("first start");
    terminal.type("\u0003");
    expect(await terminal.ended()).toBe(130);
    expect(terminal.text).not.toContain("schema");
  });

  it.each([
    [["synthetic:tiny", "--rounds", "0"], 2, /Expected an integer >= 1/],
    [["synthetic:tiny", "--backend", "vulkan"], 2, /"metal"/],
    [["synthetic:tiny", "--context-length", "99999999"], 2, /contextLength/],
    [["synthetic:tiny", "--baseline", "/no/such/file"], 2, /cannot be read/],
    [["/no/such/model"], 1, /\(MODEL_NOT_FOUND\)/],
  ] as const)("refuses %j", async (args, exitCode, message) => {
    const { code, stdout, stderr } = await run(["bench", "startup", ...args]);
    expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});
