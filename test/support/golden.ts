import path from "node:path";
import { SafetensorsFile } from "./safetensors.js";

/** A case of test/golden/cases: a prompt, and the oracle's results for it. */
export interface GoldenCase {
  name: string;
  /** The folder of the case's checkpoint. */
  model: string;
  vocab: number;
  tokens: number[];
  /** Rows of logits in float64, after each of the last tokens. Their number is what the case stores without a gap. */
  lastLogits: Float64Array[];
}

const golden = path.resolve(import.meta.dirname, "../golden");

export function readGoldenCase(name: string): GoldenCase {
  const file = new SafetensorsFile(path.join(golden, "cases", `${name}.safetensors`));
  const tokens = [...file.i32("tokens")];
  const positions = [...file.i32("positions")];
  const logits = file.f64("logits_f64");
  const vocab = logits.length / positions.length;
  const last = positions.toReversed().findIndex((position, i) => position !== tokens.length - 1 - i);
  const rows = positions.map((_, row) => logits.subarray(row * vocab, (row + 1) * vocab));
  const model = path.join(golden, "models", name.split(".")[0]!);
  return { name, model, vocab, tokens, lastLogits: last === -1 ? rows : rows.slice(-last) };
}
