import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

export interface Factors {
  /** Module of the model, such as "model.layers.0.mlp.router". */
  module: string;
  /** [rank, in] */
  a: Float32Array;
  /** [out, rank] */
  b: Float32Array;
}

/** Writes a LoRA adapter with F32 factors in PEFT's files. */
export function writeAdapter(folder: string, rank: number, factors: readonly Factors[]): string {
  const tensors = factors.flatMap(({ module, a, b }) => [
    { name: `base_model.model.${module}.lora_A.weight`, shape: [rank, a.length / rank], values: a },
    { name: `base_model.model.${module}.lora_B.weight`, shape: [b.length / rank, rank], values: b },
  ]);
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const data = tensors.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "adapter_model.safetensors"), Buffer.concat([length, padded, ...data]));
  writeFileSync(
    path.join(folder, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: rank, lora_alpha: rank, base_model_name_or_path: null }),
  );
  return folder;
}
