import { readFileSync } from "node:fs";
import path from "node:path";
import type { Session, Subject, SubjectOptions } from "./subject.js";

/** The used part of node-llama-cpp's API. Its own types exist only after the first run. */
interface Peer {
  LlamaLogLevel: { error: string };
  getLlama(options: object): Promise<{
    llamaCppRelease: { release: string };
    systemInfo: string;
    loadModel(options: object): Promise<{ createContext(options: object): Promise<Context> }>;
  }>;
}

interface Context {
  flashAttention: boolean;
  getSequence(): {
    evaluate(tokens: number[], options: object): AsyncIterable<number>;
    controlledEvaluate(input: unknown[]): Promise<({ next: { logits?: Map<number, number> } } | undefined)[]>;
  };
  dispose(): Promise<void>;
}

export async function loadPeer(o: SubjectOptions): Promise<Subject> {
  const { getLlama, LlamaLogLevel } = (await import("node-llama-cpp" as string)) as Peer;
  const llama = await getLlama({ gpu: false, build: "never", maxThreads: o.threads, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: o.model, gpuLayers: 0, ignoreMemorySafetyChecks: true });
  const about: Record<string, unknown> = {
    version: version(),
    release: llama.llamaCppRelease.release,
    systemInfo: llama.systemInfo,
    threads: o.threads,
    batchSize: 512,
    kvCacheDtype: "f16",
  };
  return {
    about,
    // A context exactly for the next measurement, which is the least work for the peer. Memory mapping, flash attention
    // and the float16 cache are its defaults.
    async open(sequences, tokens) {
      const context = await model.createContext({
        sequences,
        contextSize: tokens,
        batchSize: 512,
        threads: o.threads,
        ignoreMemorySafetyChecks: true,
      });
      about.flashAttention = context.flashAttention;
      return sessionOf(context, o.vocab);
    },
  };
}

function sessionOf(context: Context, vocab: number): Session {
  return {
    async generate(prompts, tokens, arrived) {
      await Promise.all(
        prompts.map(async (prompt, i) => {
          let count = 0;
          for await (const token of context.getSequence().evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
            arrived(i, token);
            if (++count === tokens) break;
          }
          if (count < tokens) throw new Error(`The peer ended after ${count} of ${tokens} tokens`);
        }),
      );
    },
    async logits(tokens, last) {
      const input = tokens.map((token, i) =>
        i < tokens.length - last
          ? token
          : [token, { generateNext: { logits: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } }],
      );
      const output = await context.getSequence().controlledEvaluate(input);
      return output.slice(-last).map((item) => {
        const row = new Float32Array(vocab).fill(Number.NaN);
        for (const [token, logit] of item!.next.logits!) row[token] = logit;
        return row;
      });
    },
    [Symbol.asyncDispose]: () => context.dispose(),
  };
}

function version(): string {
  const file = path.join(import.meta.dirname, "node_modules", "node-llama-cpp", "package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
