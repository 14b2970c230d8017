import { describe, expect, it } from "vitest";
import { divergence } from "../../bench/support/divergence.js";
import { Engine } from "../../lib/index.js";
import { readGoldenCase } from "../support/golden.js";

/**
 * How far the engine is from the float64 oracle, beside llama.cpp in the same measure: mean KL in nats over the last 5
 * (short), 16 (window) or 8 (yarn) positions. The bounds are what the CPU path of node-llama-cpp 3.22.1 (llama.cpp v0.5.0)
 * has with the same weights, dense ones in float32, a KV cache in float32 or float16, on two processors with AVX-512; with
 * dense weights in BF16 it has 6.7e-4, 1.8e-3, 1.1e-2 and 2.7e-3. `npm run bench:peer -- --golden` measures both again.
 */
const peerKl = { "a.short": 8.7e-4, "a.window": 1.4e-3, "b.short": 1.1e-2, "b.yarn": 2.7e-3 };

/** What the CPU backend has. */
const numerics = ["exact"] as const;

describe.each(numerics)("numerics %s", (kind) => {
  it.each(Object.entries(peerKl))("%s: nearer to the oracle than llama.cpp", async (name, bound) => {
    const { model, vocab, tokens, lastLogits } = readGoldenCase(name);
    await using engine = await Engine.load(model, { backend: "cpu", numerics: kind, kvCache: { bytes: "64MiB" } });
    expect(engine.info.numerics).toBe(kind);
    const logits = await engine.logits(tokens, { last: lastLogits.length });
    const rows = lastLogits.map((_, i) => logits.subarray(i * vocab, (i + 1) * vocab));
    const { kl, sameTop } = divergence(lastLogits, rows);
    expect(kl).toBeLessThan(bound);
    expect(sameTop).toBe(lastLogits.length);
  });
});
