import "../support/emulated-addon.cjs";
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { Engine } from "../../lib/index.js";
import { difference } from "../support/compare.js";
import { failure } from "../support/failure.js";
import { SafetensorsFile } from "../support/safetensors.js";

/** Adapters on a GPU: merged ones give the oracle's logits, those of requests are refused. */

const adapter = path.resolve("test/golden/adapters/a.peft");
const load = (options: object) =>
  Engine.load(path.resolve("test/golden/models/a"), {
    backend: "cuda",
    contextLength: 512,
    maxSequences: 4,
    maxBatchTokens: 64,
    kvCache: { bytes: "4MiB" },
    ...options,
  });

// The emulator switches stacks, which it supports on Linux for x86-64 and arm64.
const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

if (!emulated) {
  it(`adapters on a GPU: NOT RUN, there is no emulated GPU for ${process.platform}-${process.arch}`, () => {
    expect(existsSync("build/Emulated/libgptoss_cuda.so")).toBe(false);
  });
}

(emulated ? describe : () => undefined)("adapters on the emulated GPU", () => {
  it("merged, give the oracle's logits", async () => {
    const file = new SafetensorsFile(path.join(adapter, "expected.safetensors"));
    const tokens = file.i32("tokens");
    await using engine = await load({ adapters: { one: { path: adapter, merge: true } } });
    const { rmsRel } = difference(await engine.logits(tokens, { last: tokens.length }), file.f64("logits_merged_f64"));
    expect(rmsRel).toBeLessThan(3e-2); // bf16 activations: test/golden/README.md
  });

  it("of requests, are refused with advice", async () => {
    const error = await failure(() => load({ adapters: { one: adapter } }));
    expect(error).toMatchObject({ code: "UNSUPPORTED", field: "adapters" });
    expect((error as Error).message).toContain("merge: true");
    await using engine = await load({});
    expect(await failure(() => engine.loadAdapter("one", adapter))).toMatchObject({ code: "UNSUPPORTED" });
  });
});
