import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/binding.js";
import { sized, writeCheckpoint } from "../support/checkpoint.js";

/** Weights are mapped, not copied: a process with a model needs memory for its files and little more. */

const bytes = 1_000_000_000;
const allowance = 300_000_000; // Node with tsx 120 MB, KV cache 64 MiB, activations and logits; the rest is slack

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-memory-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the model in a separate process, because memory is counted per process. */
const script = `
  import { Engine } from "./lib/index.ts";
  const engine = await Engine.load(process.argv[1], { kvCache: { bytes: "64MiB" }, denseWeights: process.argv[2] });
  const prompt = Array.from({ length: 64 }, (_, i) => (i * 7919) % engine.info.model.vocab);
  const { tokens } = await engine.generate(prompt, { temperature: 0, maxTokens: 4, ignoreEos: true }).result;
  await engine.close();
  process.stdout.write(JSON.stringify({ tokens, packedBytes: engine.info.memory.packedBytes, peakBytes: process.resourceUsage().maxRSS * 1024 }));
`;

describe("a checkpoint of 1 GB", () => {
  let fileBytes: number;
  beforeAll(() => {
    const { bavail, bsize } = statfsSync(folder);
    const free = bavail * bsize;
    if (free < 1.1 * bytes) {
      throw new Error(
        `This test writes a checkpoint of 1 GB into ${tmpdir()}, where only ${Math.floor(free / 1e6)} MB are free; set TMPDIR to a folder with 1.1 GB`,
      );
    }
    writeCheckpoint(folder, sized(bytes));
    fileBytes = statSync(path.join(folder, "model.safetensors")).size;
    expect(fileBytes).toBeGreaterThan(0.95 * bytes);
  }, 300_000);

  async function run(denseWeights: "bf16" | "q8") {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "-e", script, folder, denseWeights],
      { cwd: packageRoot },
    );
    const result = JSON.parse(stdout) as { tokens: number[]; packedBytes: number; peakBytes: number };
    expect(result.tokens).toHaveLength(4);
    expect(result.peakBytes).toBeGreaterThan(fileBytes / 2); // nearly every expert was read, so this measures something
    return result;
  }

  it("takes at most its size and 300 MB of memory", { timeout: 300_000 }, async () => {
    expect((await run("bf16")).peakBytes).toBeLessThan(fileBytes + allowance);
  });

  it('takes less with denseWeights "q8": of what was copied, the file\'s pages are let go', {
    timeout: 300_000,
  }, async () => {
    const { packedBytes, peakBytes } = await run("q8");
    const dense = packedBytes - (await run("bf16")).packedBytes; // experts may have been packed, too
    expect(dense).toBeGreaterThan(0.05 * bytes);
    expect(peakBytes).toBeLessThan(fileBytes - (64 / 34) * dense + dense + allowance);
  });
});
