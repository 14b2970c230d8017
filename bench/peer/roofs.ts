import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { addon, packageRoot } from "../../lib/binding.js";

/** The current peak rates of the machine, beside which the engines' results are shown. */
export interface Roofs {
  /** The rate of a plain read loop over 512 MB. */
  bytesPerSecond: number;
  /** The rate of a loop of int8 dot products in registers; null without a compiler. */
  int8: { instruction: string; operationsPerSecond: number } | null;
}

const buffer = 512e6; // bytes; past the last-level cache of most machines

export class RoofMeter {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-peak-"));
  readonly #program: string | undefined;

  constructor(readonly threads: number) {
    process.once("exit", () => rmSync(this.#folder, { recursive: true, force: true }));
    const program = path.join(this.#folder, "peak");
    const source = path.join(packageRoot, "bench/peer/peak.cpp");
    const flags = ["-std=c++20", "-O2", "-march=native", "-pthread", "-o", program];
    try {
      execFileSync(process.env.CXX ?? "c++", [...flags, source], { stdio: ["ignore", "ignore", "pipe"] });
      this.#program = program;
    } catch (error) {
      process.stderr.write(`No int8 peak: ${(error as Error).message.split("\n").slice(0, 3).join(" ")}\n`);
    }
  }

  measure(): Roofs {
    const bytesPerSecond = Number(addon().memoryBandwidth(buffer, this.threads).toPrecision(4));
    if (!this.#program) return { bytesPerSecond, int8: null };
    return {
      bytesPerSecond,
      int8: JSON.parse(execFileSync(this.#program, [String(this.threads)], { encoding: "utf8" })),
    };
  }
}
