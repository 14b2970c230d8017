import path from "node:path";
import { describe, expect, it } from "vitest";
import { goldenModel, run } from "../support/cli.js";

/** `--adapter` and `--merge-adapters`. */

const adapter = path.resolve("test/golden/adapters/a.peft");
const model = goldenModel;
const generate = (...more: string[]) =>
  run([
    "generate",
    model,
    "--tokens",
    "422,197,189,470,357",
    "--max-tokens",
    "6",
    "--temperature",
    "0",
    "--json",
    ...more,
  ]);
const tokensOf = (stdout: string) => (JSON.parse(stdout) as { tokens: number[] }).tokens;

describe("--adapter", () => {
  it("changes the answer: by path, by name, merged", async () => {
    const cpu = ["--backend", "cpu"];
    const [plain, byPath, byName, merged] = await Promise.all([
      generate(...cpu),
      generate(...cpu, "--adapter", adapter),
      generate(...cpu, "--adapter", `tuned=${adapter}/adapter_model.safetensors`),
      generate(...cpu, "--adapter", adapter, "--merge-adapters"),
    ]);
    for (const { code, stderr } of [plain, byPath, byName, merged]) expect([code, stderr]).toEqual([0, ""]);
    expect(tokensOf(byPath.stdout)).not.toEqual(tokensOf(plain.stdout));
    expect(tokensOf(byName.stdout)).toEqual(tokensOf(byPath.stdout));
    expect(tokensOf(merged.stdout)).not.toEqual(tokensOf(plain.stdout));
  });

  it("is refused where it means nothing, with one sentence", async () => {
    const two = await generate("--adapter", adapter, "--adapter", `b=${adapter}`);
    expect(two).toMatchObject({ code: 2, stdout: "" });
    expect(two.stderr).toContain("Several adapters need --merge-adapters");
    const same = await generate("--adapter", adapter, "--adapter", adapter, "--merge-adapters");
    expect(same).toMatchObject({ code: 2 });
    expect(same.stderr).toContain("Two adapters have the name a.peft");
    const none = await generate("--merge-adapters");
    expect(none).toMatchObject({ code: 2 });
    expect(none.stderr).toContain("--merge-adapters needs --adapter");
    const gone = await generate("--adapter", "/nowhere");
    expect(gone).toMatchObject({ code: 1, stdout: "" });
    expect(gone.stderr).toMatch(/found nothing at \/nowhere.*MODEL_NOT_FOUND/);
    const other = await generate("--adapter", path.resolve("test/golden/adapters/c.unsloth"));
    expect(other).toMatchObject({ code: 1 });
    expect(other.stderr).toContain("MODEL_SHAPE");
  });
});
