import { spawn } from "node:child_process";
import { describe, expect, it } from "vitest";
import { rowsOf as rowsOfCalls } from "../../../bench/lib/bench.js";
import { rowsOf } from "../../support/bench-rows.js";
import { environment, finish, root } from "../../support/cli.js";

/** `npm run bench:lib`: its rows. Speeds are not checked. */

const start = (...args: string[]) =>
  spawn(process.execPath, ["--import", "tsx", "bench/lib/main.ts", ...args], { cwd: root, env: environment() });

describe("npm run bench:lib", () => {
  it("prints a row for each call", { timeout: 300_000 }, async () => {
    const names = ["stream", "sample", "event"]; // the others take long
    const { code, stdout, stderr } = await finish(start("--only", names.join(","), "--rounds", "2", "--json"));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const rows = rowsOf(stdout);
    expect([...new Set(rows.map(({ name }) => name))]).toEqual(names);
    for (const { bench, values } of rows) {
      expect(bench).toBe("lib");
      expect(Object.keys(values)[0]).toBe("time");
      expect(values.time).toMatchObject({ better: "less", samples: [expect.any(Number), expect.any(Number)] });
    }
    const callsOf = (name: string) =>
      new Set(rows.filter((row) => row.name === name).map((row) => row.parameters.call));
    expect(callsOf("stream")).toEqual(new Set(["stream", "tokenText"]));
    expect(callsOf("sample").size).toBe(6);
    expect(callsOf("event")).toEqual(new Set(["first token", "later token"]));
  });

  it("compares ours with the fastest other call of the same round", () => {
    const times = { ours: [1, 2], slow: [9, 9], fast: [3, 2] };
    const rows = [...rowsOfCalls({ name: "encode", parameters: {}, times, unit: "ms", tokens: 10, compared: "ours" })];
    expect(rows.map(({ parameters }) => parameters.call)).toEqual(["ours", "slow", "fast"]);
    expect(rows[0]!.values.ofFastestPeer!.samples).toEqual([3, 1]);
    expect(rows[0]!.values.throughput!.samples).toEqual([10_000, 5000]);
    expect(rows[1]!.values.ofFastestPeer).toBeUndefined();
  });

  it("ends with 130 at Ctrl-C, with what was measured", { timeout: 300_000 }, async () => {
    const child = start("--only", "stream,encode", "--rounds", "1", "--json");
    child.stdout.once("data", () => child.kill("SIGINT"));
    const { code, stdout, stderr } = await finish(child);
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    expect(rowsOf(stdout)[0]).toMatchObject({ name: "stream" });
  });

  it.each([
    [["--only", "nope"], /there is no nope/],
    [["--rounds", "0"], /Expected an integer >= 1/],
    [["--baseline", "/no/such/file"], /cannot be read/],
  ])("refuses %j", async (args, message) => {
    const { code, stdout, stderr } = await finish(start(...args));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});
