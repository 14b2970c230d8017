import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TensorInfo } from "./safetensors.js";

/** A copy of a golden model in a temporary folder, which a test damages in one way. */
export class ModelCopy {
  readonly folder: string;

  constructor(model: "a" | "b" | "c") {
    this.folder = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-damaged-")));
    cpSync(path.resolve("test/golden/models", model), this.folder, { recursive: true });
  }

  path(file: string): string {
    return path.join(this.folder, file);
  }

  write(file: string, content: string | Uint8Array): void {
    writeFileSync(this.path(file), content);
  }

  remove(file: string): void {
    rmSync(this.path(file));
  }

  /** Keeps the first `bytes` of a file; a negative number counts from the end. */
  cut(file: string, bytes: number): void {
    this.write(file, readFileSync(this.path(file)).subarray(0, bytes));
  }

  /** Sets keys of a JSON file; `undefined` removes one. */
  set(file: string, values: Record<string, unknown>): void {
    const json = JSON.parse(readFileSync(this.path(file), "utf8")) as Record<string, unknown>;
    this.write(file, JSON.stringify({ ...json, ...values }));
  }

  /** Replaces the only occurrence of `from` in a text file. */
  replace(file: string, from: string, to: string): void {
    const parts = readFileSync(this.path(file), "utf8").split(from);
    if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} occurrences of ${from}, not one`);
    this.write(file, parts.join(to));
  }

  /** Changes the header of a safetensors file and keeps its data. */
  header(file: string, change: (tensors: Record<string, TensorInfo>) => void): void {
    const { tensors, data } = this.#split(file);
    change(tensors);
    const text = JSON.stringify(tensors);
    const header = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    this.write(file, Buffer.concat([length, header, data]));
  }

  /** Overwrites one byte of a tensor. */
  byte(file: string, tensor: string, index: number, value: number): void {
    const { tensors, dataStart } = this.#split(file);
    const bytes = readFileSync(this.path(file));
    const info = tensors[tensor];
    if (!info) throw new Error(`${file} has no tensor ${tensor}`);
    bytes[dataStart + info.data_offsets[0] + index] = value;
    this.write(file, bytes);
  }

  delete(): void {
    rmSync(this.folder, { recursive: true });
  }

  #split(file: string): { tensors: Record<string, TensorInfo>; data: Uint8Array; dataStart: number } {
    const bytes = readFileSync(this.path(file));
    const dataStart = 8 + Number(bytes.readBigUInt64LE(0));
    const tensors = JSON.parse(bytes.toString("utf8", 8, dataStart)) as Record<string, TensorInfo>;
    return { tensors, data: bytes.subarray(dataStart), dataStart };
  }
}
