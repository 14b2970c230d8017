import { readFileSync } from "node:fs";
import { Engine } from "../../engine.js";
import { GptOssError } from "../../errors.js";
import type { StartEvent, StartOrder } from "./messages.js";

/** The process that `gpt-oss bench startup` starts: it loads a model and answers with one token. */

function tell(event: StartEvent): void {
  process.send!(event);
}

/** The greatest resident memory of this process. That of getrusage starts with its parent's on Linux. */
function residentPeak(): number {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS * 1024;
  return 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

async function answer({ model, options, inputTokens }: StartOrder): Promise<void> {
  await using engine = await Engine.load(model, options);
  const { backend, isa, numerics, denseWeights, expertWeights, kvCacheDtype } = engine.info;
  const { repeatable, threads, mergedAdapters, device, memory, limits } = engine.info;
  const kernels = { backend, isa, numerics, denseWeights, expertWeights, kvCacheDtype };
  tell({ kind: "ready", facts: { ...kernels, repeatable, threads, mergedAdapters, device, memory, limits } });
  const prompt = Array.from({ length: inputTokens }, (_, i) => i % engine.info.model.vocab);
  await engine.generate(prompt, { temperature: 0, maxTokens: 1, ignoreEos: true }).result;
  const resident = process.memoryUsage.rss();
  tell({ kind: "firstToken", resident, residentPeak: Math.max(resident, residentPeak()) });
}

// Ctrl-C at a terminal reaches this process as well; the bench ends it.
process.on("SIGINT", () => {});
process.once("disconnect", () => process.exit());
process.once("message", (order: StartOrder) => {
  answer(order)
    .catch((error: Error) => {
      const code = error instanceof GptOssError ? error.code : null;
      tell({ kind: "failure", code, message: error.message });
    })
    .finally(() => process.disconnect());
});
tell({ kind: "imported" });
