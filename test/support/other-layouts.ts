import { GoldenModel } from "./gguf.js";
import type { StoredTensor } from "./write-safetensors.js";

/** Golden model c in other layouts: experts in bf16, and MLX. */

export type Tensors = Map<string, StoredTensor>;

export const golden = new GoldenModel("c");

const bf16 = (values: Float32Array): Uint8Array =>
  new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);

/** [experts, rows, cols] of MXFP4 → [experts, cols, rows], as transformers dequantises it. */
function dequantized(name: string): { shape: Shape; values: Float32Array } {
  const blocks = golden.get(`${name}_blocks`);
  const scales = golden.get(`${name}_scales`).bytes;
  const [experts, rows, groups] = blocks.shape as [number, number, number];
  const cols = groups * 32;
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const values = new Float32Array(experts * rows * cols);
  for (let e = 0; e < experts; e++) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const at = (e * rows + r) * cols + c;
        const byte = blocks.bytes[at >> 1]!;
        const code = at % 2 === 0 ? byte & 15 : byte >> 4;
        values[(e * cols + c) * rows + r] =
          (code & 8 ? -1 : 1) * magnitudes[code & 7]! * 2 ** (scales[Math.floor(at / 32)]! - 127);
      }
    }
  }
  return { shape: [experts, cols, rows], values };
}

type Shape = [number, number, number];

/**
 * The golden model as transformers saves it without quantisation. `change` alters the weights of all experts,
 * [experts, cols, rows].
 */
export function merged(change: (values: Float32Array, shape: Shape) => Float32Array = (values) => values): Tensors {
  const out: Tensors = new Map();
  for (const [name, tensor] of golden.tensors) {
    if (name.endsWith("_scales")) continue;
    if (!name.endsWith("_blocks")) {
      out.set(name, tensor);
      continue;
    }
    const base = name.slice(0, -"_blocks".length);
    const { shape, values } = dequantized(base);
    out.set(base, { dtype: "BF16", shape, bytes: bf16(change(values, shape)) });
  }
  return out;
}

/** With experts that MXFP4 does not hold: those of `fine_tuned()` in test/oracle/oracle.py. */
export const fineTuned = (): Tensors =>
  merged((values, [experts, cols, rows]) => {
    const bits = new Uint32Array(values.buffer);
    for (let e = 0; e < experts; e++) {
      for (let c = 0; c < cols; c++) {
        for (let r = 0; r < rows; r++) {
          const at = (e * cols + c) * rows + r;
          const index = (e * rows + r) * cols + c;
          if (values[at] !== 0) bits[at]! |= (Math.imul(index, 2654435761) >>> 26) << 16;
        }
      }
    }
    return values;
  });

const { quantization_config: _, ...withoutQuantization } = golden.config as Record<string, unknown>;
export const plainConfig = withoutQuantization;

/** The golden model in the layout of mlx-lm, its dense matrices affine where `bits` is given. */
export function mlx(bits?: 4 | 8): { tensors: Tensors; dense: Tensors } {
  const tensors: Tensors = new Map();
  const dense: Tensors = new Map(); // the same values as bf16
  const everyOther = (name: string, first: number, row: number, dtype: string, shape: number[]): StoredTensor => {
    const { bytes } = golden.get(name);
    const parts: Uint8Array[] = [];
    for (let at = first * row; at < bytes.length; at += 2 * row) parts.push(bytes.subarray(at, at + row));
    return { dtype, shape, bytes: Buffer.concat(parts) };
  };
  for (const [name, tensor] of golden.tensors) {
    const base = name.replace(/_(blocks|scales|bias)$/, "");
    if (base.endsWith("gate_up_proj")) {
      const [experts, rows, groups] = golden.get(`${base}_blocks`).shape as [number, number, number];
      for (const [i, half] of ["gate_proj", "up_proj"].entries()) {
        const to = base.replace("gate_up_proj", half);
        const shape = [experts, rows / 2];
        if (name.endsWith("_blocks"))
          tensors.set(`${to}.weight`, everyOther(name, i, groups * 16, "U32", [...shape, groups * 4]));
        if (name.endsWith("_scales"))
          tensors.set(`${to}.scales`, everyOther(name, i, groups, "U8", [...shape, groups]));
        if (name.endsWith("_bias")) tensors.set(`${to}.bias`, everyOther(name, i, 2, "BF16", shape));
      }
    } else if (base.endsWith("down_proj")) {
      const [experts, rows, groups] = golden.get(`${base}_blocks`).shape as [number, number, number];
      if (name.endsWith("_blocks"))
        tensors.set(`${base}.weight`, { dtype: "U32", shape: [experts, rows, groups * 4], bytes: tensor.bytes });
      if (name.endsWith("_scales")) tensors.set(`${base}.scales`, tensor);
      if (name.endsWith("_bias")) tensors.set(`${base}.bias`, tensor);
    } else if (bits && tensor.shape.length === 2) {
      const affine = affineOf(golden.values(name), tensor.shape as [number, number], bits);
      tensors.set(name, affine.words);
      tensors.set(name.replace(/weight$/, "scales"), affine.scales);
      tensors.set(name.replace(/weight$/, "biases"), affine.biases);
      dense.set(name, affine.bf16);
    } else {
      tensors.set(name, tensor);
    }
  }
  return { tensors, dense };
}

/** Groups of 64: scale and bias in bf16, codes in 32-bit words, the first in the lowest bits. */
function affineOf(values: Float32Array, [rows, cols]: [number, number], bits: number) {
  const group = 64;
  const steps = 2 ** bits - 1;
  const words = new Uint32Array((values.length * bits) / 32);
  const scales = new Float32Array(values.length / group);
  const biases = new Float32Array(values.length / group);
  const decoded = new Float32Array(values.length);
  const short = (value: number) => new Float32Array(Uint32Array.of((floatBits(value) >>> 16) << 16).buffer)[0]!;
  for (let g = 0; g < scales.length; g++) {
    const x = values.subarray(g * group, (g + 1) * group);
    biases[g] = short(Math.min(...x));
    scales[g] = short((Math.max(...x) - Math.min(...x)) / steps);
    for (const [i, value] of x.entries()) {
      const code = Math.max(0, Math.min(steps, Math.round((value - biases[g]!) / scales[g]!)));
      const at = g * group + i;
      words[Math.floor((at * bits) / 32)]! += code * 2 ** ((at * bits) % 32);
      decoded[at] = Math.fround(Math.fround(code * scales[g]!) + biases[g]!);
    }
  }
  const nearest = Uint16Array.from(new Uint32Array(decoded.buffer), (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
  const tensor = (dtype: string, width: number, bytes: Uint8Array): StoredTensor => ({
    dtype,
    shape: [rows, width],
    bytes,
  });
  return {
    words: tensor("U32", (cols * bits) / 32, new Uint8Array(words.buffer)),
    scales: tensor("BF16", cols / group, bf16(scales)),
    biases: tensor("BF16", cols / group, bf16(biases)),
    bf16: tensor("BF16", cols, new Uint8Array(nearest.buffer)),
  };
}

function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

export const mlxConfig = { ...plainConfig, quantization: { group_size: 32, bits: 4, mode: "mxfp4" } };
