import { types } from "node:util";
import { invalidArgument } from "../errors.js";

const word = new DataView(new ArrayBuffer(4));

/**
 * Rounds float32 values to bf16, to nearest, ties to even. A NaN stays one.
 *
 * @returns their bits, as `Kernels` takes weights
 * @throws GptOssError INVALID_ARGUMENT for a value that is not a Float32Array
 * @example
 * ```ts
 * import { bf16 } from "gpt-oss-node/kernels";
 *
 * bf16(new Float32Array([1, -2])); // Uint16Array [ 0x3f80, 0xc000 ]
 * ```
 */
export function bf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  if (!types.isFloat32Array(values)) throw invalidArgument("values", "a Float32Array", values);
  return Uint16Array.from(values, (value) => {
    word.setFloat32(0, value);
    const bits = word.getUint32(0);
    if (Number.isNaN(value)) return (bits >>> 16) | 0x40; // a quiet one: rounding could make it an infinity
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  });
}

/**
 * The values of bf16 bits, exactly.
 *
 * @throws GptOssError INVALID_ARGUMENT for a value that is not a Uint16Array
 * @example
 * ```ts
 * import { float32 } from "gpt-oss-node/kernels";
 *
 * float32(new Uint16Array([0x3f80])); // Float32Array [ 1 ]
 * ```
 */
export function float32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  if (!types.isUint16Array(bits)) throw invalidArgument("bits", "a Uint16Array", bits);
  return Float32Array.from(bits, (one) => {
    word.setUint32(0, one * 0x10000);
    return word.getFloat32(0);
  });
}
