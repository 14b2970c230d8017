import { type DenseType, type Source, sources } from "./convert.js";
import { type GgmlType, GgufFile, ggmlTypes } from "./gguf.js";
import { Checkpoint } from "./safetensors.js";

/**
 * Reads both files back and compares them as numbers. The decoders are independent of the code that wrote the files.
 * Small tensors are compared as a whole, large ones in 64 rows.
 */

export interface Readback {
  tensors: number;
  values: number;
  /** Values of dense matrices in a Q8_0 file may differ by half a step; all other values must be equal. */
  rounded: number;
  /** The greatest difference in steps of its block's scale. */
  greatestSteps: number;
}

const wholeBelow = 1 << 20; // values
const sampledRows = 64;
const halfStep = 0.5 + 127 * 2 ** -11; // the scale is rounded to 11 bits, and 127 steps multiply its error

export function compareFiles(folder: string, file: string, layers: number, dense: DenseType): Readback {
  using checkpoint = new Checkpoint(folder);
  using gguf = new GgufFile(file);
  const all = sources(layers, dense);
  if (gguf.tensors.size !== all.length) throw new Error(`Expected ${all.length} tensors, found ${gguf.tensors.size}`);
  const result: Readback = { tensors: all.length, values: 0, rounded: 0, greatestSteps: 0 };
  for (const source of all) compareTensor(checkpoint, gguf, source, result);
  return result;
}

function compareTensor(checkpoint: Checkpoint, gguf: GgufFile, source: Source, result: Readback): void {
  const { type, shape } = gguf.tensors.get(source.name)!;
  if (type !== source.type) throw new Error(`${source.name}: expected ${source.type}, found ${type}`);
  const width = shape.at(-1)!;
  const height = shape.reduce((product, extent) => product * extent, 1) / width;
  const rowsPerMatrix = shape.at(-2) ?? 1; // of an expert; rows of biases are experts
  const rowBytes = (width / ggmlTypes[type].values) * ggmlTypes[type].bytes;
  const sampled = width * height > wholeBelow ? Math.min(height, sampledRows) : height;
  for (let i = 0; i < sampled; i++) {
    const row = sampled === height ? i : Math.floor((i * (height - 1)) / (sampled - 1));
    const found = decodeGgml(type, gguf.read(source.name, row * rowBytes, rowBytes));
    const expected = expectedRow(checkpoint, source, row, width, rowsPerMatrix);
    for (const [column, value] of expected.entries()) {
      const difference = Math.abs(found.values[column]! - value);
      if (difference === 0) continue;
      const steps = difference / found.scales[Math.floor(column / 32)]!;
      if (type !== "q8_0" || !(steps <= halfStep)) {
        throw new Error(`${source.name}, row ${row}, column ${column}: ${value} became ${found.values[column]}`);
      }
      result.rounded++;
      result.greatestSteps = Math.max(result.greatestSteps, steps);
    }
    result.values += width;
  }
}

function expectedRow(c: Checkpoint, { from, type, rows }: Source, row: number, width: number, height: number) {
  if (type !== "mxfp4") {
    if (rows === undefined) return decodeBf16(c.read(from, 2 * row * width, 2 * width));
    return decodeBf16(c.read(from, 4 * row * width, 4 * width)).filter((_, i) => i % 2 === rows);
  }
  const stored = rows === undefined ? row : 2 * row + rows; // interleaved within an expert, hence over all experts
  if (c.tensor(`${from}_scales`).shape[1] !== (rows === undefined ? height : 2 * height)) {
    throw new Error(`${from}: the experts have another height`);
  }
  const blocks = width / 32;
  const nibbles = c.read(`${from}_blocks`, stored * blocks * 16, blocks * 16);
  const scales = c.read(`${from}_scales`, stored * blocks, blocks);
  return Float64Array.from({ length: width }, (_, i) => {
    const byte = nibbles[Math.floor(i / 2)]!;
    return e2m1(i % 2 === 0 ? byte & 15 : byte >> 4) * 2 ** (scales[Math.floor(i / 32)]! - 127);
  });
}

function decodeGgml(type: GgmlType, bytes: Buffer): { values: ArrayLike<number>; scales: ArrayLike<number> } {
  if (type === "bf16") return { values: decodeBf16(bytes), scales: [] };
  if (type === "f32") {
    return { values: Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i)), scales: [] };
  }
  const size = ggmlTypes[type].bytes;
  const blocks = bytes.length / size;
  const values = new Float64Array(32 * blocks);
  const scales = new Float64Array(blocks);
  for (let b = 0; b < blocks; b++) {
    const block = bytes.subarray(b * size, (b + 1) * size);
    const scale = type === "mxfp4" ? 2 ** (block[0]! - 127) : decodeFloat16(block.readUInt16LE(0));
    scales[b] = scale;
    for (let j = 0; j < 32; j++) {
      const value =
        type === "mxfp4" ? e2m1(j < 16 ? block[1 + j]! & 15 : block[1 + j - 16]! >> 4) : block.readInt8(2 + j);
      values[32 * b + j] = scale * value;
    }
  }
  return { values, scales };
}

function decodeBf16(bytes: Buffer): Float64Array {
  const scratch = new DataView(new ArrayBuffer(4));
  return Float64Array.from({ length: bytes.length / 2 }, (_, i) => {
    scratch.setUint32(0, bytes.readUInt16LE(2 * i) << 16);
    return scratch.getFloat32(0);
  });
}

function decodeFloat16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  return exponent === 0 ? (bits & 1023) * 2 ** -24 : (1024 + (bits & 1023)) * 2 ** (exponent - 25);
}

function e2m1(code: number): number {
  const magnitude = [0, 0.5, 1, 1.5, 2, 3, 4, 6][code & 7]!;
  return code & 8 ? -magnitude : magnitude;
}
