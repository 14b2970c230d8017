import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { goldenModel, run } from "../support/cli.js";
import { ModelHome } from "../support/model-home.js";

/** `--adapter` and `--merge-adapters`. */

const adapter = path.resolve("test/golden/adapters/a.peft");
const model = goldenModel;
const answer = ["--tokens", "422,197,189,470,357", "--max-tokens", "6", "--temperature", "0", "--json"];
const generate = (env: NodeJS.ProcessEnv, ...more: string[]) => run(["generate", model, ...answer, ...more], "", env);
const tokensOf = (stdout: string) => (JSON.parse(stdout) as { tokens: number[] }).tokens;

describe("--adapter", () => {
  it("changes the answer: by path, by name, merged", async () => {
    const cpu = ["--backend", "cpu"];
    const [plain, byPath, byName, merged] = await Promise.all([
      generate({}, ...cpu),
      generate({}, ...cpu, "--adapter", adapter),
      generate({}, ...cpu, "--adapter", `tuned=${adapter}/adapter_model.safetensors`),
      generate({}, ...cpu, "--adapter", adapter, "--merge-adapters"),
    ]);
    for (const { code, stderr } of [plain, byPath, byName]) expect([code, stderr]).toEqual([0, ""]);
    expect(merged.code).toBe(0);
    expect(merged.stderr).toMatch(
      /^Weights were rounded: experts with the adapter a\.peft to MXFP4, relative RMS 0\.0\d+ of the weights, \S+ of its change\n$/,
    );
    expect(tokensOf(byPath.stdout)).not.toEqual(tokensOf(plain.stdout));
    expect(tokensOf(byName.stdout)).toEqual(tokensOf(byPath.stdout));
    expect(tokensOf(merged.stdout)).not.toEqual(tokensOf(plain.stdout));
  });

  it("is found in the Hugging Face cache by its repository", async () => {
    const home = new ModelHome();
    const files = ["adapter_config.json", "adapter_model.safetensors"];
    const snapshot = home.snapshot(
      "me/tuned",
      Object.fromEntries(files.map((name) => [name, readFileSync(path.join(adapter, name))])),
    );
    const named = (...more: string[]) => generate(home.env, ...more);
    const [byName, byPath, merged, planned, unknown, asModel] = await Promise.all([
      named("--adapter", "me/tuned@main"),
      named("--adapter", `x=${snapshot}`),
      named("--adapter", "Me/Tuned", "--merge-adapters"),
      run(["plan", model, "--adapter", "me/tuned", "--backend", "cpu", "--json"], "", home.env),
      named("--adapter", "me/other"),
      run(["chat", "me/tuned"], "Hi\n", home.env),
    ]);
    home.remove();
    expect(tokensOf(byName.stdout)).toEqual(tokensOf(byPath.stdout));
    expect(merged.stderr).toContain(" with the adapter Tuned to MXFP4");
    expect(planned).toMatchObject({ code: 0, stderr: "" });
    expect(unknown.stderr).toMatch(
      /^gpt-oss: Expected an adapter's folder .*, and no me\/other .* \(MODEL_NOT_FOUND\)\n$/,
    );
    expect(asModel).toMatchObject({ code: 1, stdout: "" });
    expect(asModel.stderr).toMatch(/found a LoRA adapter .*; .* give this folder to --adapter .* \(MODEL_FORMAT\)\n$/);
  });

  it.each(["", " ", "=x", "one=", "a/b=x", "=", "a b=x", `${"n".repeat(65)}=x`])(
    "%s is refused as wrong usage",
    async (text) => {
      const { code, stdout, stderr } = await generate({}, "--adapter", text);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toBe(
        "gpt-oss: Expected PATH or NAME=PATH for --adapter, with 1 to 64 letters, digits, dots, hyphens and underscores " +
          `in NAME, but received ${JSON.stringify(text)} (USAGE)\n`,
      );
    },
  );

  it("is refused where it means nothing, with one sentence", async () => {
    const two = await generate({}, "--adapter", adapter, "--adapter", `b=${adapter}`);
    expect(two).toMatchObject({ code: 2, stdout: "" });
    expect(two.stderr).toContain("Several adapters need --merge-adapters");
    const same = await generate({}, "--adapter", adapter, "--adapter", adapter, "--merge-adapters");
    expect(same).toMatchObject({ code: 2 });
    expect(same.stderr).toContain("Two adapters have the name a.peft");
    const none = await generate({}, "--merge-adapters");
    expect(none).toMatchObject({ code: 2 });
    expect(none.stderr).toContain("--merge-adapters needs --adapter");
    const gone = await generate({}, "--adapter", "/nowhere");
    expect(gone).toMatchObject({ code: 1, stdout: "" });
    expect(gone.stderr).toMatch(/found nothing at \/nowhere.*MODEL_NOT_FOUND/);
    const other = await generate({}, "--adapter", path.resolve("test/golden/adapters/c.unsloth"));
    expect(other).toMatchObject({ code: 1 });
    expect(other.stderr).toContain("MODEL_SHAPE");
  });
});
