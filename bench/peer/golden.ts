import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { readGoldenCase } from "../../test/support/golden.js";
import { type Divergence, divergence } from "../support/divergence.js";
import { convertToGguf, type DenseType } from "./convert.js";
import type { SubjectName } from "./subject.js";
import type { Answer, Task } from "./turn.js";

/**
 * The distance of both engines from the float64 oracle, on the golden cases that a GGUF can hold. Our engine runs as
 * published, with the reference's RoPE; the peer runs with llama.cpp's RoPE.
 */
const cases = ["a.short", "a.window", "b.short", "b.yarn"];

interface Variant {
  subject: SubjectName;
  name: string;
  dense: DenseType;
  extra: Record<string, unknown>;
}

export interface GoldenPlan {
  /** The dense type of the peer's GGUF. */
  dense: DenseType[];
  threads: number;
  /** Options for Engine.load. */
  extra: Record<string, unknown>;
  ask(task: Task): Promise<Answer>;
  print(line: object): void;
}

export async function compareGolden({ dense, threads, extra, ask, print }: GoldenPlan): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-golden-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const variants: Variant[] = [
    ...["exact", "fast"].map((numerics): Variant => {
      return { subject: "ours", name: `ours, ${numerics}`, dense: "bf16", extra: { ...extra, numerics } };
    }),
    ...dense.map((type): Variant => ({ subject: "peer", name: `peer, dense ${type}`, dense: type, extra: {} })),
  ];
  process.stderr.write(tableRow("", "", "KL, mean", "KL, median", "rms of log p", "same first choice"));
  for (const name of cases) {
    const { model, vocab, tokens, lastLogits } = readGoldenCase(name);
    for (const variant of variants) {
      const gguf = path.join(folder, `${name}.${variant.dense}.gguf`);
      if (variant.subject === "peer") convertToGguf(model, gguf, variant.dense);
      const options = {
        model: variant.subject === "peer" ? gguf : model,
        vocab,
        dense: variant.dense,
        threads,
        contextLength: tokens.length + 64,
        sequences: 1,
        kvBytes: 64e6, // four times the need of b.yarn
        extra: variant.extra,
      };
      const of = { measure: "golden", case: name, engine: variant.subject, variant: variant.name };
      try {
        const answer = await ask({
          kind: "answer",
          subject: variant.subject,
          options,
          seed: 0,
          prompt: tokens,
          last: lastLogits.length,
          continuations: [],
        });
        const result = divergence(lastLogits, answer.logits);
        print({ ...of, ...result, about: answer.about });
        process.stderr.write(resultRow(name, variant.name, result));
      } catch (error) {
        const { message } = error as Error; // such as numerics that this build does not have
        print({ ...of, error: message });
        process.stderr.write(tableRow(name, variant.name, `failed: ${message}`));
      }
    }
  }
}

function resultRow(name: string, variant: string, result: Divergence): string {
  const small = [result.kl, result.medianKl, result.rmsLogProbability].map((value) => value.toExponential(1));
  return tableRow(name, variant, ...small, `${result.sameTop} of ${result.positions}`);
}

function tableRow(name: string, variant: string, ...figures: string[]): string {
  const columns = [name.padEnd(10), variant.padEnd(18), ...figures.map((figure) => figure.padEnd(14))];
  return `${columns.join("").trimEnd()}\n`;
}
