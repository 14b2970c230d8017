import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

/** Runs `npm run bench:kernels` on a small shape: every operation has its line. The speed is not checked. */
const program = [".", "Release"]
  .map((folder) => path.resolve(`.cmake/${process.platform}-${process.arch}`, folder, "oss_cpu_bench"))
  .find(existsSync);

function bench(...args: string[]) {
  if (!program) throw new Error('oss_cpu_bench is missing: "npm run build:tests" builds it');
  return spawnSync(program, args, { encoding: "utf8" });
}

type Line = { measure: string; numerics: string; message?: string } & Record<string, unknown>;

describe("the bench of the CPU kernels", () => {
  it("measures every operation, or says why not", () => {
    const args = ["--shape", "tiny", "--threads", "1", "--tokens", "2,33", "--context", "70", "--json"];
    const { status, stdout, stderr } = bench(...args);
    expect(status, stderr).toBe(0);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    for (const numerics of ["exact", "fast"]) {
      const [first, ...rest] = lines.filter((line) => line.numerics === numerics);
      if (first?.measure === "refused") {
        expect(first.message).toContain("fast");
        expect(rest).toEqual([]);
        continue;
      }
      expect(first).toMatchObject({ measure: "roofs", shape: "tiny", threads: 1 });
      expect(rest.at(-1)).toMatchObject({ measure: "roofs" });
      const kernels = rest.filter(({ measure }) => measure === "kernel");
      for (const line of kernels) {
        expect(line).toMatchObject({
          microseconds: { median: expect.any(Number), repeats: expect.any(Number) },
          roofShare: expect.any(Number),
        });
      }
      const every = ["embed", "rms_norm", "qkv", "attention full", "attention window", "linear o", "linear router"];
      every.push("router", "experts");
      const decode = ["gather", "linear head", "sample greedy", "sample temperature", "sample top-p 0.95"];
      const named = (tokens: number) => kernels.filter((line) => line.tokens === tokens).map(({ kernel }) => kernel);
      expect(named(2).sort()).toEqual([...every, ...decode].sort());
      expect(named(33).sort()).toEqual(every.sort());
    }
  });

  it("refuses what it does not understand", () => {
    for (const args of [["--tokens", "0"], ["--shape", "huge"], ["--speed"], ["--threads"]]) {
      const { status, stderr } = bench(...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/expected|unknown|needs/);
    }
  });
});
