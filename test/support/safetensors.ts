import { readFileSync } from "node:fs";

/** One safetensors file, read whole: for golden data and small checkpoints in tests. */

const views = {
  F64: Float64Array,
  F32: Float32Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U8: Uint8Array,
} as const;

type Dtype = keyof typeof views;

export interface TensorInfo {
  dtype: Dtype;
  shape: number[];
  data_offsets: [number, number];
}

export class SafetensorsFile {
  readonly tensors = new Map<string, TensorInfo>();
  readonly metadata: Record<string, string>;
  readonly #data: Buffer;

  constructor(path: string) {
    const file = readFileSync(path);
    const headerBytes = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes)) as Record<string, unknown>;
    this.metadata = (header.__metadata__ ?? {}) as Record<string, string>;
    delete header.__metadata__;
    for (const [name, tensor] of Object.entries(header)) this.tensors.set(name, tensor as TensorInfo);
    this.#data = file.subarray(8 + headerBytes);
  }

  get dataBytes(): number {
    return this.#data.byteLength;
  }

  info(name: string): TensorInfo {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`no tensor ${name} among ${[...this.tensors.keys()].join(", ")}`);
    return tensor;
  }

  bytes(name: string): Uint8Array {
    return this.#data.subarray(...this.info(name).data_offsets);
  }

  f64(name: string): Float64Array {
    return this.#view(name, "F64") as Float64Array;
  }

  f32(name: string): Float32Array {
    return this.#view(name, "F32") as Float32Array;
  }

  i32(name: string): Int32Array {
    return this.#view(name, "I32") as Int32Array;
  }

  /** bf16, widened to float32. */
  bf16(name: string): Float32Array {
    const wide = Uint32Array.from(this.#view(name, "BF16") as Uint16Array, (bits) => bits << 16);
    return new Float32Array(wide.buffer);
  }

  #view(name: string, dtype: Dtype): Float64Array | Float32Array | Uint16Array | Int32Array | Uint8Array {
    const { dtype: actual } = this.info(name);
    if (actual !== dtype) throw new Error(`tensor ${name} is ${actual}, not ${dtype}`);
    const copy = new Uint8Array(this.bytes(name)); // a tensor in a file need not be aligned in memory
    return new views[dtype](copy.buffer);
  }
}
