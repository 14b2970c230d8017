import type { OperationArguments, OperationName } from "../../kernels/operations.js";
import type { ModelConfig } from "../../native/checkpoint.js";
import type { BenchParameters } from "../rows.js";

/** The operations of one step of a model, with their dimensions. */

export interface KernelCase<Name extends OperationName = OperationName> {
  operation: Name;
  /** The dimensions; arrays that are left out are random. */
  given: Partial<OperationArguments[Name]>;
  /** What tells the row from others of the operation. */
  parameters: BenchParameters;
}

/** What a sweep goes over. */
export interface Sweep {
  /** Tokens of a step: up to 32 are decoding sequences, more are a chunk of one prompt. */
  tokens: readonly number[];
  /** Keys that attention sees. */
  contexts: readonly number[];
}

const mostSequences = 32;

/** The cases of a model, in the order of a step. */
export function kernelCases(model: ModelConfig, { tokens: counts, contexts }: Sweep): KernelCase[] {
  const { hidden, intermediate, heads, kvHeads, headDim, experts, expertsPerToken: topK, vocab } = model;
  const cases: KernelCase[] = [];
  const add = <Name extends OperationName>(
    operation: Name,
    given: Partial<OperationArguments[Name]>,
    parameters: BenchParameters,
  ) => cases.push({ operation, given, parameters } as unknown as KernelCase);

  // A number in place of the array: `operands.ts` draws so many.
  for (const tokens of counts) add("embed", { vocab, hidden, tokens: tokens as never }, { tokens });
  for (const tokens of counts) add("rmsNorm", { rows: tokens, hidden }, { tokens });
  for (const tokens of counts) add("qkv", { tokens, hidden, heads, kvHeads, headDim }, { tokens });
  for (const window of new Set([0, model.slidingWindow])) {
    for (const tokens of counts) {
      const sequences = tokens <= mostSequences ? tokens : 1;
      for (const length of new Set(contexts.map((context) => Math.max(context, tokens / sequences)))) {
        const given = {
          tokens,
          keys: sequences * length,
          lengths: new Int32Array(sequences).fill(length),
          sequence: Int32Array.from({ length: tokens }, (_, t) => (sequences === 1 ? 0 : t)),
          heads,
          kvHeads,
          headDim,
          window,
        };
        add("attention", given, { tokens, context: length, window });
      }
    }
  }
  for (const tokens of counts)
    add("linear", { rows: tokens, in: heads * headDim, out: hidden }, { tokens, matrix: "attention output" });
  for (const tokens of counts)
    add("linear", { rows: tokens, in: hidden, out: experts, precision: "high" }, { tokens, matrix: "router" });
  for (const tokens of counts) add("router", { tokens, experts, topK }, { tokens });
  for (const tokens of counts) add("experts", { tokens, hidden, intermediate, experts, topK }, { tokens });
  for (const tokens of counts) add("swiglu", { rows: tokens * topK, intermediate }, { tokens });
  add("mxfp4Dequantize", { rows: 2 * intermediate, cols: hidden }, {});
  for (const tokens of counts)
    add("mxfp4Gemm", { rows: tokens, in: hidden, out: 2 * intermediate }, { tokens, matrix: "gate and up" });
  // Of a chunk of a prompt only the last token has logits.
  for (const tokens of counts.filter((n) => n <= mostSequences))
    add("lmHead", { rows: tokens, hidden, vocab }, { tokens });
  for (const tokens of counts.filter((n) => n <= mostSequences)) {
    add("sample", { rows: tokens, vocab, temperature: 0 }, { tokens, draw: "greedy" });
    add("sample", { rows: tokens, vocab }, { tokens, draw: "temperature 1" });
    add("sample", { rows: tokens, vocab, topP: 0.95 }, { tokens, draw: "top-p 0.95" });
  }
  return cases;
}
