import { types } from "node:util";
import { asyncDispose } from "../common/realm.js";
import { GptOssError, invalidArgument } from "../errors.js";
import type { NativeLab } from "../native/lab.js";
import { settled } from "./settled.js";

/** The element type of a buffer. `"bf16"` is bits in a Uint16Array. */
export type BufferDtype = "f32" | "bf16" | "i32" | "u8";

/** The typed array of each element type. */
export const arrayTypes = { f32: Float32Array, bf16: Uint16Array, i32: Int32Array, u8: Uint8Array } as const;

/** The contents of a buffer. */
export type BufferArray = Float32Array | Uint16Array | Int32Array | Uint8Array;

/**
 * Memory of a device, made by `Kernels.createBuffer`. Operations take it wherever they take a typed array, and write
 * their results into it when it is passed under the name of a result.
 *
 * @example
 * ```ts
 * import { kernels } from "gpt-oss-node/kernels";
 *
 * await using cpu = kernels("cpu");
 * await using x = await cpu.createBuffer("f32", 4);
 * await x.write(new Float32Array([1, 2, 3, 4]));
 * await cpu.rmsNorm({ x, weight: new Float32Array(4).fill(1), rows: 1, hidden: 4, output: x });
 * console.log(await x.read());
 * ```
 */
export class DeviceBuffer implements AsyncDisposable {
  /** The type of its elements. */
  readonly dtype: BufferDtype;
  /** The number of its elements. */
  readonly length: number;
  /** @internal */
  readonly id: number;
  readonly #lab: NativeLab;
  #isDisposed = false;

  /** @internal */
  constructor(lab: NativeLab, id: number, dtype: BufferDtype, length: number) {
    this.#lab = lab;
    this.id = id;
    this.dtype = dtype;
    this.length = length;
  }

  /** Whether it is memory of this lab. @internal */
  isOf(lab: NativeLab): boolean {
    return this.#lab === lab;
  }

  /**
   * Copies values into the buffer, from element `first` on.
   *
   * @param values a typed array of the buffer's element type; later changes to it have no effect
   * @throws GptOssError INVALID_ARGUMENT for values of another type, and for more than there is room for; CLOSED
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const buffer = await cpu.createBuffer("f32", 2);
   * await buffer.write(new Float32Array([1, 2]));
   * ```
   */
  async write(values: BufferArray, first = 0): Promise<void> {
    this.#check();
    const type = arrayTypes[this.dtype];
    if (!types.isTypedArray(values) || values[Symbol.toStringTag] !== type.name)
      throw invalidArgument("values", `a ${type.name}`, values);
    if (!Number.isInteger(first) || first < 0) throw invalidArgument("first", "an integer >= 0", first);
    if (first + values.length > this.length) {
      const message = `${values.length} elements from ${first} on exceed the buffer of ${this.length}`;
      throw new GptOssError("INVALID_ARGUMENT", message, { field: "values" });
    }
    const own = types.isSharedArrayBuffer(values.buffer) ? values.slice() : values;
    await settled(() => this.#lab.writeBuffer(this.id, first * type.BYTES_PER_ELEMENT, own));
  }

  /**
   * @returns a copy of its contents
   * @throws GptOssError CLOSED
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const buffer = await cpu.createBuffer("f32", 2);
   * console.log(await buffer.read());
   * ```
   */
  async read(): Promise<BufferArray> {
    this.#check();
    const { buffer } = await settled(() => this.#lab.readBuffer(this.id));
    return new arrayTypes[this.dtype](buffer);
  }

  /**
   * Frees the memory, after the calls that use it. Further calls of this method do nothing.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const buffer = await cpu.createBuffer("f32", 2);
   * await buffer.dispose();
   * ```
   */
  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    try {
      await settled(() => this.#lab.disposeBuffer(this.id));
    } catch (error) {
      if (!(error instanceof GptOssError) || error.code !== "CLOSED") throw error; // then it is free
    }
  }

  /** Calls `dispose`: for `await using`. */
  async [asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #check(): void {
    if (this.#isDisposed) throw new GptOssError("CLOSED", "The buffer is disposed");
  }
}
