import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

export interface StoredTensor {
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}

/** Writes config.json and model.safetensors into `folder`. */
export function writeModel(folder: string, config: unknown, tensors: ReadonlyMap<string, StoredTensor>): void {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.from(BigUint64Array.of(BigInt(json.length)).buffer);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(
    path.join(folder, "model.safetensors"),
    Buffer.concat([length, json, ...[...tensors.values()].map(({ bytes }) => bytes)]),
  );
}
