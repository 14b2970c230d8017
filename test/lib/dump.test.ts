import "../support/emulated-addon.cjs";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { examineEnvironment } from "../../lib/environment.js";
import { Engine, type EngineOptions } from "../../lib/index.js";
import { compareTaps, readTaps } from "../oracle/taps.js";
import { expectClose } from "../support/compare.js";
import { SafetensorsFile } from "../support/safetensors.js";

/** GPT_OSS_DUMP and `npm run dump`: compare the engine's tensors with the oracle's. */

const golden = "test/golden/taps/c.short.safetensors";
const model = path.resolve("test/golden/models/c");
const tokens = [...new SafetensorsFile(golden).i32("tokens")];
const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss dump-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let dumps = 0;
/** The folder with the tensors of `ask`. */
async function dumped(options: EngineOptions, ask: (engine: Engine) => Promise<unknown>): Promise<string> {
  const out = path.join(folder, `${dumps++}`);
  vi.stubEnv("GPT_OSS_DUMP", out);
  try {
    await using engine = await Engine.load(model, { maxSequences: 2, kvCache: { bytes: "1MiB" }, ...options });
    await ask(engine);
  } finally {
    vi.unstubAllEnvs();
  }
  return out;
}
const all = (engine: Engine) => engine.logits(tokens, { last: tokens.length });
const command = (...args: string[]) =>
  spawnSync(process.execPath, ["--import", "tsx", "test/oracle/dump.ts", ...args], { encoding: "utf8" });

describe("a dump of the engine", () => {
  it("has every tensor of the oracle, within the tolerance of float32", async () => {
    const taps = readTaps(await dumped({ backend: "cpu", numerics: "exact" }, all));
    const reference = readTaps(golden);
    expect([...reference.keys()].filter((name) => !taps.has(name))).toEqual([]);
    const found = compareTaps(taps, reference, 1e-5);
    expect(found).toHaveLength(reference.size - 1); // without the tokens
    expect(found.filter(({ isOver }) => isOver)).toEqual([]);
    expect(found.map(({ name }) => name).slice(0, 3)).toEqual(["0.attn_norm", "0.q_rope", "0.k_rope"]);
    expect(found.at(-1)).toMatchObject({ name: "logits", shape: [5, 301] });
  });

  it("is the same in several steps, with rows of the cache in bf16 too", async () => {
    const whole = readTaps(await dumped({ backend: "cpu", numerics: "exact" }, all));
    const parts = await dumped({ backend: "cpu", numerics: "exact", maxBatchTokens: 2, maxSequences: 1 }, all);
    expect(existsSync(path.join(parts, "step-2"))).toBe(true);
    expect(compareTaps(readTaps(parts), whole, 0).filter(({ isOver }) => isOver)).toEqual([]);
    const rounded = readTaps(
      await dumped({ backend: "cpu", numerics: "exact", kvCache: { bytes: "1MiB", dtype: "bf16" } }, all),
    );
    const first = compareTaps(rounded, whole, 1e-5).find(({ isOver }) => isOver)!;
    expect(first.name).toBe("0.k_rope");
    expect(first.maxRel).toBeLessThan(2 ** -8);
  });

  it("changes no logits", async () => {
    let inDump = new Float32Array();
    await dumped({ backend: "cpu" }, async (engine) => {
      inDump = new Float32Array(await all(engine));
    });
    await using engine = await Engine.load(model, { backend: "cpu", maxSequences: 2, kvCache: { bytes: "1MiB" } });
    expect(new Float32Array(await all(engine))).toEqual(inDump);
  });

  if (process.platform === "linux" && ["x64", "arm64"].includes(process.arch)) {
    it("has the same tensors on CUDA, within the precision of bf16", async () => {
      const taps = readTaps(await dumped({ backend: "cuda", contextLength: 512 }, all));
      const reference = readTaps(golden);
      for (const [name, { shape, values }] of reference) {
        if (name === "tokens" || name.endsWith(".expert_index")) continue;
        expectClose(name, taps.get(name)!.values, values, [shape[0]!, values.length / shape[0]!], 4e-2);
      }
    });
  }

  it("accepts only an empty folder, and names it in the refusal", async () => {
    const out = await dumped({ backend: "cpu" }, all);
    vi.stubEnv("GPT_OSS_DUMP", out);
    await expect(Engine.load(model)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `GPT_OSS_DUMP is ${JSON.stringify(out)}, expected an empty folder that can be written to: it is not empty`,
    });
    expect(examineEnvironment()).toMatchObject({
      problems: { GPT_OSS_DUMP: expect.stringContaining("it is not empty") },
      unread: [],
    });
    vi.unstubAllEnvs();
  });
});

describe("npm run dump", () => {
  const out = path.join(folder, "by command");

  it("writes the tensors of a prompt, which agree with the oracle's", () => {
    const args = ["--backend", "cpu", "--numerics", "exact", "--tokens", tokens.join(), "--out", out];
    const written = command(model, ...args);
    expect(written).toMatchObject({ status: 0, stderr: "" });
    expect(written.stdout).toContain("5 tokens on cpu");
    const compared = command("--compare", out, golden);
    expect(compared).toMatchObject({ status: 0, stderr: "" });
    expect(compared.stdout).toMatch(/^ok {3}0\.attn_norm \[5, 64\]: max_abs .*, max_rel /);
    expect(compared.stdout).toMatch(/^38 passed, 0 failed$/m);
  });

  it("names the first tensor that drifts, and where", () => {
    const bad = path.join(folder, "bad");
    cpSync(out, bad, { recursive: true });
    for (const [name, element] of [
      ["2.attn", 3],
      ["1.router_logits", 7],
    ] as const) {
      const file = path.join(bad, "step-0", `${name}.npy`);
      const bytes = readFileSync(file);
      const at = 10 + bytes.readUInt16LE(8) + 4 * element;
      bytes.writeFloatLE(bytes.readFloatLE(at) + 1, at);
      writeFileSync(file, bytes);
    }
    const { status, stdout } = command("--compare", bad, golden);
    expect(status).toBe(1);
    expect(stdout).toContain("The first that drifts is 1.router_logits: at [1, 2] ");
    expect(stdout).toMatch(/^36 passed, 2 failed$/m);
    expect(command("--compare", bad, golden, "--tolerance", "10").status).toBe(0);
  });

  it("reports invalid arguments, and dumps that cannot be compared", () => {
    const of = (...args: string[]) => {
      const { status, stderr } = command(...args);
      return [status, stderr];
    };
    expect(of()).toEqual([2, "Expected MODEL; --help tells more\n"]);
    expect(of("--compare", out)).toEqual([2, "Expected --compare A B; --help tells more\n"]);
    expect(of("--compare", folder, golden)).toEqual([
      1,
      `${folder} has no step-0: expected a folder that GPT_OSS_DUMP has named\n`,
    ]);
  });
});
