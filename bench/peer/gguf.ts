import { closeSync, openSync, writeSync } from "node:fs";
import { readExactly } from "./safetensors.js";

/** The GGUF container, version 3: metadata, a list of tensors, and their data at multiples of 32 bytes. */

/** ggml's number of a type, and its blocks: values per block, bytes per block. */
export const ggmlTypes = {
  f32: { id: 0, values: 1, bytes: 4 },
  q8_0: { id: 8, values: 32, bytes: 34 }, // a float16 scale, 32 int8
  bf16: { id: 30, values: 1, bytes: 2 },
  mxfp4: { id: 39, values: 32, bytes: 17 }, // the scale's exponent, 16 bytes of nibbles: element j low, j + 16 high
} as const;

export type GgmlType = keyof typeof ggmlTypes;

/**
 * Integers are written as uint32; numbers wrapped in `float` are float32. GGUF distinguishes them, JavaScript does not.
 */
export type GgufValue = string | number | { float: number } | string[] | Int32Array;

export interface GgufTensor {
  name: string;
  type: GgmlType;
  /** Slowest dimension first, as in all of this repository; the file has the reverse order. */
  shape: number[];
  /** Yields the bytes in order. */
  chunks(): Iterable<Uint8Array>;
}

const magic = "GGUF";
const version = 3;
const alignment = 32;
const valueIds = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 };

export function writeGguf(file: string, metadata: Record<string, GgufValue>, tensors: GgufTensor[]): void {
  const parts = [Buffer.from(magic), u32(version), u64(tensors.length), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), encodeValue(value));
  let position = 0;
  for (const { name, type, shape } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(ggmlTypes[type].id), u64(position));
    position += aligned(tensorBytes(type, shape));
  }
  const header = Buffer.concat(parts);
  const fd = openSync(file, "w");
  try {
    writeAll(fd, header);
    writeAll(fd, Buffer.alloc(aligned(header.length) - header.length));
    for (const tensor of tensors) {
      let written = 0;
      for (const chunk of tensor.chunks()) {
        writeAll(fd, chunk);
        written += chunk.length;
      }
      const expected = tensorBytes(tensor.type, tensor.shape);
      if (written !== expected) throw new Error(`${tensor.name}: expected ${expected} bytes, wrote ${written}`);
      writeAll(fd, Buffer.alloc(aligned(written) - written));
    }
  } finally {
    closeSync(fd);
  }
}

/** An independent reader for checks: it shares only the table of types with the writer. */
export class GgufFile implements Disposable {
  readonly metadata = new Map<string, unknown>();
  readonly tensors = new Map<string, { type: GgmlType; shape: number[]; offset: number }>();
  readonly #fd: number;
  #position = 0;

  constructor(file: string) {
    this.#fd = openSync(file, "r");
    if (this.#take(4).toString() !== magic || this.#u32() !== version)
      throw new Error(`${file} is not a GGUF of version 3`);
    const numTensors = this.#u64();
    const numValues = this.#u64();
    for (let i = 0; i < numValues; i++) this.metadata.set(this.#text(), this.#value(this.#u32()));
    for (let i = 0; i < numTensors; i++) {
      const name = this.#text();
      const shape = Array.from({ length: this.#u32() }, () => this.#u64()).toReversed();
      const id = this.#u32();
      const found = Object.entries(ggmlTypes).find(([, type]) => type.id === id);
      if (!found) throw new Error(`${name}: type ${id} is not supported`);
      this.tensors.set(name, { type: found[0] as GgmlType, shape, offset: this.#u64() });
    }
    const data = aligned(this.#position);
    for (const tensor of this.tensors.values()) tensor.offset += data;
  }

  read(name: string, start: number, bytes: number): Buffer {
    return readExactly(this.#fd, this.tensors.get(name)!.offset + start, bytes);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #take(bytes: number): Buffer {
    this.#position += bytes;
    return readExactly(this.#fd, this.#position - bytes, bytes);
  }

  #u32(): number {
    return this.#take(4).readUInt32LE();
  }

  #u64(): number {
    return Number(this.#take(8).readBigUInt64LE());
  }

  #text(): string {
    return this.#take(this.#u64()).toString();
  }

  #value(id: number): unknown {
    switch (id) {
      case valueIds.uint32:
        return this.#u32();
      case valueIds.int32:
        return this.#take(4).readInt32LE();
      case valueIds.float32:
        return this.#take(4).readFloatLE();
      case valueIds.string:
        return this.#text();
      case valueIds.array: {
        const of = this.#u32();
        return Array.from({ length: this.#u64() }, () => this.#value(of));
      }
      default:
        throw new Error(`metadata of type ${id} is not supported`);
    }
  }
}

export function tensorBytes(type: GgmlType, shape: number[]): number {
  const { values, bytes } = ggmlTypes[type];
  return (shape.reduce((product, extent) => product * extent, 1) / values) * bytes;
}

function encodeValue(value: GgufValue): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(valueIds.string), text(value)]);
  if (typeof value === "number") return Buffer.concat([u32(valueIds.uint32), u32(value)]);
  if (Array.isArray(value)) {
    return Buffer.concat([u32(valueIds.array), u32(valueIds.string), u64(value.length), ...value.map(text)]);
  }
  if (value instanceof Int32Array) {
    const bytes = Buffer.alloc(4 * value.length);
    for (const [i, number] of value.entries()) bytes.writeInt32LE(number, 4 * i);
    return Buffer.concat([u32(valueIds.array), u32(valueIds.int32), u64(value.length), bytes]);
  }
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value.float);
  return Buffer.concat([u32(valueIds.float32), bytes]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}
