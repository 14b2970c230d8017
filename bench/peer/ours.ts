import type { EngineOptions } from "../../lib/index.js";
import type { Session, Subject, SubjectOptions } from "./subject.js";

/** This engine as it is published: the compiled package, not the TypeScript sources. */
export async function loadOurs(o: SubjectOptions): Promise<Subject> {
  const { Engine } = (await import("../../dist/index.js" as string)) as typeof import("../../lib/index.js");
  const options: EngineOptions = {
    backend: "cpu",
    threads: o.threads,
    contextLength: o.contextLength,
    maxSequences: o.sequences,
    prefixCache: false,
    kvCache: { bytes: o.kvBytes },
    denseWeights: o.dense === "q8_0" ? "q8" : "bf16",
    ...o.extra,
  };
  const engine = await Engine.load(o.model, options);
  const { isa, numerics, denseWeights, packedWeights, kvCacheDtype, threads, memory, limits } = engine.info;
  const session: Session = {
    async generate(prompts, tokens, arrived) {
      const runs = prompts.map((prompt) =>
        engine.generate(prompt, { temperature: 0, maxTokens: tokens, ignoreEos: true }),
      );
      await Promise.all(
        runs.map(async (run, i) => {
          for await (const { token } of run) arrived(i, token);
        }),
      );
    },
    async logits(tokens, last) {
      const rows = await engine.logits(tokens, { last });
      return Array.from({ length: last }, (_, i) => rows.subarray(i * o.vocab, (i + 1) * o.vocab));
    },
    async [Symbol.asyncDispose]() {},
  };
  return {
    about: {
      isa,
      numerics,
      denseWeights,
      packedWeights: packedWeights.in,
      kvCacheDtype,
      threads,
      memory,
      maxBatchTokens: limits.maxBatchTokens,
    },
    open: async () => session, // one engine has room for all sequences from the start
  };
}
