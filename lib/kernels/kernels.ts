import { addon, addonAt, type NativeAddon } from "../binding.js";
import { asyncDispose } from "../common/realm.js";
import { readOptions } from "../common/unknown-option.js";
import { backendNames, isBackend } from "../environment.js";
import { invalidArgument, nativeCall } from "../errors.js";
import type { NativeLab, NativeLabOptions } from "../native/lab.js";
import { type BenchOptions, type Measurement, measure, Subject } from "./bench.js";
import { arrayTypes, type BufferDtype, DeviceBuffer } from "./device-buffer.js";
import type {
  LmHeadOutput,
  OperationArguments,
  OperationName,
  Output,
  QkvOutput,
  Ran,
  RouterOutput,
  SampleOutput,
} from "./operations.js";
import { requestOf, resultsOf } from "./request.js";
import { settled } from "./settled.js";

/** A backend of this machine, or the reason why it cannot be used. */
export interface BackendStatus {
  /** `"cpu"`, `"cuda"` or `"metal"`. */
  name: string;
  /** Whether it can be used. */
  available: boolean;
  /** Its device, or the reason. */
  detail: string;
}

/** Options of `kernels`. */
export interface KernelsOptions {
  /** Worker threads of the CPU, or `"auto"`: one for each core. Default `"auto"`. */
  threads?: number | "auto";
  /** Instruction set of the CPU, such as `"avx2"`. Default: that of `GPT_OSS_ISA`, else the fastest. */
  isa?: string;
  /**
   * `"exact"`: float32 activations. `"fast"`: bf16 activations with float32 sums. Default `"auto"`: `"fast"` where the
   * device multiplies bf16.
   */
  numerics?: "auto" | "exact" | "fast";
  /** `"q8"`: `linear`, `qkv`, `lmHead` and `embed` use a lossy 8-bit copy of their weights. Default `"bf16"`. */
  denseWeights?: "bf16" | "q8";
  /** Whether a token's result has the same bits among any others. GPUs take other kernels for it. Default false. */
  repeatable?: boolean;
  /**
   * Whether each thread of the CPU stays on a core of its own, the first ones of the process. A measurement then does not
   * depend on the system, which may put two busy threads on one core. Two labs use the same cores, as a comparison must.
   * Has no effect on macOS, or with more threads than cores. Default false.
   */
  pinned?: boolean;
}

/** The device of `Kernels`. */
export interface KernelsInfo {
  /** `"cpu"`, `"cuda"` or `"metal"`. */
  backend: string;
  /** Name of the processor or GPU. */
  device: string;
  /** Instruction set of the CPU, or architecture of the GPU. */
  isa: string;
  /** Worker threads of the CPU, or multiprocessors of the GPU; 0: not known. */
  threads: number;
  /** `"exact"` or `"fast"`. */
  numerics: string;
  /** The element type of results that are inputs of products: a buffer for them has this type. */
  activations: "f32" | "bf16";
  /** The operations that this backend has. */
  operations: OperationName[];
}

/**
 * The backends on this machine, whether they can be used, and their device or the reason.
 *
 * @throws GptOssError ADDON_NOT_FOUND
 * @example
 * ```ts
 * import { listBackends } from "gpt-oss-node/kernels";
 *
 * for (const { name, available, detail } of listBackends()) console.log(name, available, detail);
 * ```
 */
export function listBackends(): BackendStatus[] {
  return nativeCall(() => addon().listBackends());
}

/**
 * The operations of one backend, each callable alone. They run on a thread of their own, in the order of the calls. The
 * backend opens at the first call, which rejects if it cannot.
 *
 * @param backend `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"` or `"metal"`
 * @throws GptOssError INVALID_ARGUMENT, ADDON_NOT_FOUND, RESOURCE_LIMIT
 * @example
 * ```ts
 * import { kernels } from "gpt-oss-node/kernels";
 *
 * await using cpu = kernels("cpu");
 * const { index, weight } = await cpu.router({
 *   logits: new Float32Array([0.5, 2, -1, 1]),
 *   tokens: 1,
 *   experts: 4,
 *   topK: 2,
 * });
 * console.log(index, weight); // Int32Array [ 1, 3 ], and the softmax of 2 and 1
 * ```
 */
export function kernels(backend = "auto", options: KernelsOptions = {}): Kernels {
  return new Kernels(addon(), backend, options);
}

/** The same of another build of the addon, to compare the two. @throws GptOssError ADDON_NOT_FOUND */
export function kernelsOf(file: string, backend = "auto", options: KernelsOptions = {}): Kernels {
  return new Kernels(addonAt(file), backend, options);
}

const optionNames = new Set(["threads", "isa", "numerics", "denseWeights", "repeatable", "pinned"]);

function readKernelsOptions(backend: string, given: KernelsOptions): NativeLabOptions {
  if (typeof backend !== "string" || !isBackend(backend)) throw invalidArgument("backend", backendNames, backend);
  const options = readOptions("kernels", given, optionNames, "KernelsOptions");
  const { threads = "auto", isa = "", numerics = "auto", denseWeights = "bf16" } = options;
  const { repeatable = false, pinned = false } = options;
  if (threads !== "auto" && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024))
    throw invalidArgument("threads", '"auto" or an integer in [1, 1024]', threads);
  if (typeof isa !== "string") throw invalidArgument("isa", "a string", isa);
  if (!["auto", "exact", "fast"].includes(numerics))
    throw invalidArgument("numerics", '"auto", "exact" or "fast"', numerics);
  if (!["bf16", "q8"].includes(denseWeights)) throw invalidArgument("denseWeights", '"bf16" or "q8"', denseWeights);
  if (typeof repeatable !== "boolean") throw invalidArgument("repeatable", "a boolean", repeatable);
  if (typeof pinned !== "boolean") throw invalidArgument("pinned", "a boolean", pinned);
  return { backend, threads: threads === "auto" ? 0 : threads, isa, numerics, denseWeights, repeatable, pinned };
}

/** Options of `Kernels.roofs`. */
export interface RoofOptions {
  /** The bytes of a pass over memory; more than the caches hold, and 16 GiB at most. Default 1 GiB. */
  coldBytes?: number;
  /** How long each unit multiplies, five times. Default 0.02. */
  seconds?: number;
}

/** The peak rate of a unit with all values in registers. */
export interface UnitRoof {
  /** The instruction that was measured. */
  instruction: string;
  /** A multiplication and an addition are two. */
  flopsPerSecond: number;
}

/** The peak rates of a device. */
export interface Roofs {
  /** How fast memory is read. */
  bytesPerSecond: number;
  /** What was measured for it. */
  bytesBy: string;
  /** The unit that multiplies float32. */
  float32: UnitRoof;
  /** The unit that multiplies bf16, where the numerics use one. */
  bf16: UnitRoof | null;
}

const roofOptionNames = new Set(["coldBytes", "seconds"]);

function checkRange(name: string, value: number, most: number): void {
  if (!(typeof value === "number" && value >= 0 && value <= most))
    throw invalidArgument(name, `a number in [0, ${most}]`, value);
}

/** The most elements of a buffer: 64 GiB of float32. */
const mostElements = 2 ** 34;

/**
 * The operations of one backend. Made by `kernels`; `close` frees everything.
 *
 * Every operation takes typed arrays or buffers of the device, and copies arrays before it returns. Its promise rejects
 * with INVALID_ARGUMENT for arguments that do not fit together, with UNSUPPORTED for an operation, shape or type that
 * the backend lacks, with OUT_OF_MEMORY, with DEVICE for a failure of the device, and with CLOSED.
 */
export class Kernels implements AsyncDisposable {
  readonly #lab: NativeLab;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(native: NativeAddon, backend: string, options: KernelsOptions) {
    this.#lab = nativeCall(() => native.openLab(readKernelsOptions(backend, options)));
  }

  /**
   * The device, and what it can do. Opens the backend.
   *
   * @throws GptOssError UNSUPPORTED, DEVICE, CLOSED
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const { isa, operations } = await cpu.info();
   * console.log(isa, operations);
   * ```
   */
  async info(): Promise<KernelsInfo> {
    return (await settled(() => this.#lab.info())) as KernelsInfo;
  }

  /**
   * Rows of a table, by their numbers.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const table = new Uint16Array([0x3f80, 0x4000, 0x4040, 0x4080]); // 1, 2, 3 and 4
   * await cpu.embed({ table, tokens: new Int32Array([1]), vocab: 2, hidden: 2 }); // output: 3, 4
   * ```
   */
  embed<A extends OperationArguments["embed"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("embed", given);
  }

  /**
   * Root mean square norm.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const x = new Float32Array([3, 4]);
   * await cpu.rmsNorm({ x, weight: new Float32Array([1, 1]), rows: 1, hidden: 2 });
   * ```
   */
  rmsNorm<A extends OperationArguments["rmsNorm"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("rmsNorm", given);
  }

  /**
   * A product with a matrix of bf16 weights.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const weight = new Uint16Array([0x3f80, 0x4000]); // 1 and 2
   * await cpu.linear({ x: new Float32Array([3, 4]), weight, rows: 1, in: 2, out: 1 }); // output: 11
   * ```
   */
  linear<A extends OperationArguments["linear"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("linear", given);
  }

  /**
   * Queries, keys and values. Keys and values are as the cache holds them.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const [x, bias, weight] = [new Float32Array(32), new Float32Array(64), new Uint16Array(64 * 32)];
   * const biases = { qBias: bias, kBias: bias, vBias: bias };
   * const weights = { qWeight: weight, kWeight: weight, vWeight: weight };
   * const { q, k, v } = await cpu.qkv({ x, ...weights, ...biases, tokens: 1, hidden: 32, heads: 1, kvHeads: 1 });
   * console.log(q, k, v);
   * ```
   */
  qkv<A extends OperationArguments["qkv"]>(given: A): Promise<Ran<QkvOutput<A>>> {
    return this.#run("qkv", given);
  }

  /**
   * Grouped-query attention with sinks, over all keys or a window.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const [q, k, v] = [new Float32Array(64), new Float32Array(128), new Float32Array(128).fill(1)];
   * const sinks = new Float32Array([0]);
   * await cpu.attention({ q, k, v, sinks, tokens: 1, keys: 2, heads: 1, kvHeads: 1 }); // output: 2/3 each
   * ```
   */
  attention<A extends OperationArguments["attention"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("attention", given);
  }

  /**
   * The choice of experts. On equal logits the lower expert is first.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const logits = new Float32Array([0, 3, 1, 2]);
   * await cpu.router({ logits, tokens: 1, experts: 4, topK: 2 }); // index: 1, 3
   * ```
   */
  router<A extends OperationArguments["router"]>(given: A): Promise<Ran<RouterOutput<A>>> {
    return this.#run("router", given);
  }

  /**
   * The chosen experts, with weights in MXFP4.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const [blocks, scales] = [(rows: number) => new Uint8Array(rows * 16), (rows: number) => new Uint8Array(rows)];
   * const { output } = await cpu.experts({
   *   x: new Float32Array(32),
   *   index: new Int32Array([1]),
   *   weight: new Float32Array([1]),
   *   gateUpBlocks: blocks(2 * 64),
   *   gateUpScales: scales(2 * 64),
   *   gateUpBias: new Float32Array(2 * 64),
   *   downBlocks: blocks(2 * 32),
   *   downScales: scales(2 * 32),
   *   downBias: new Float32Array(2 * 32).fill(1),
   *   ...{ tokens: 1, hidden: 32, intermediate: 32, experts: 2, topK: 1 },
   * });
   * console.log(output); // ones: the weights are zeros
   * ```
   */
  experts<A extends OperationArguments["experts"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("experts", given);
  }

  /**
   * The logits of rows.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const weight = new Uint16Array([0x3f80, 0x4000]); // 1 and 2
   * await cpu.lmHead({ x: new Float32Array([3]), weight, rows: 1, hidden: 1, vocab: 2 }); // logits: 3, 6
   * ```
   */
  lmHead<A extends OperationArguments["lmHead"]>(given: A): Promise<Ran<LmHeadOutput<A>>> {
    return this.#run("lmHead", given);
  }

  /**
   * Draws a token from each row, and gives its log probability under the logits themselves.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const logits = new Float32Array([0, 5, 1]);
   * await cpu.sample({ logits, rows: 1, vocab: 3, temperature: 0 }); // token: 1
   * ```
   */
  sample(given: OperationArguments["sample"]): Promise<Ran<SampleOutput>> {
    return this.#run("sample", given);
  }

  /**
   * The clamped SwiGLU. Only the CPU has it alone; elsewhere it is a part of `experts`.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * await cpu.swiglu({ x: new Float32Array([1, 2]), rows: 1, intermediate: 1 });
   * ```
   */
  swiglu<A extends OperationArguments["swiglu"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("swiglu", given);
  }

  /**
   * The values of MXFP4 blocks. Only the CPU has it alone.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const blocks = new Uint8Array(16).fill(0x22); // 1, as long as the scale is 1
   * const { output } = await cpu.mxfp4Dequantize({ blocks, scales: new Uint8Array([127]), rows: 1, cols: 32 });
   * console.log(output);
   * ```
   */
  mxfp4Dequantize<A extends OperationArguments["mxfp4Dequantize"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("mxfp4Dequantize", given);
  }

  /**
   * A product with one matrix in MXFP4. Only the CPU has it alone, with numerics `"exact"`.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * await using exact = kernels("cpu", { numerics: "exact" });
   * const [x, blocks, scales] = [new Float32Array(32), new Uint8Array(32 * 16), new Uint8Array(32)];
   * await exact.mxfp4Gemm({ x, blocks, scales, rows: 1, in: 32, out: 32 });
   * ```
   */
  mxfp4Gemm<A extends OperationArguments["mxfp4Gemm"]>(given: A): Promise<Ran<Output<A>>> {
    return this.#run("mxfp4Gemm", given);
  }

  /**
   * Makes memory on the device, with zeros.
   *
   * @param dtype the element type
   * @param length the number of elements, at most 17,179,869,184
   * @throws GptOssError INVALID_ARGUMENT, OUT_OF_MEMORY, CLOSED
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * await using buffer = await cpu.createBuffer("f32", 4);
   * await buffer.write(new Float32Array([1, 2]), 1);
   * console.log(await buffer.read()); // 0, 1, 2, 0
   * ```
   */
  async createBuffer(dtype: BufferDtype, length: number): Promise<DeviceBuffer> {
    if (typeof dtype !== "string" || !Object.hasOwn(arrayTypes, dtype))
      throw invalidArgument("dtype", '"f32", "bf16", "i32" or "u8"', dtype);
    if (!Number.isInteger(length) || length < 0 || length > mostElements)
      throw invalidArgument("length", `an integer in [0, ${mostElements}]`, length);
    const id = await settled(() => this.#lab.createBuffer(dtype, length));
    return new DeviceBuffer(this.#lab, id, dtype, length);
  }

  /**
   * Measures an operation. Arrays that the arguments leave out are random; its dimensions must be given. The result of
   * the first run is compared with plain loops in float64 before anything is timed.
   *
   * @throws GptOssError as a call of the operation; INVALID_ARGUMENT for operands whose result is not finite, which cannot
   * be compared; INTERNAL when its result is wrong; the reason of an abort
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const { microseconds, bytesMoved } = await cpu.bench("linear", { rows: 1, in: 256, out: 128 });
   * console.log(microseconds.median, bytesMoved);
   * ```
   */
  bench<Name extends OperationName>(
    operation: Name,
    given: Partial<OperationArguments[Name]>,
    options: BenchOptions = {},
  ): Promise<Measurement> {
    return measure(this.#lab, operation, given, options);
  }

  /** An operation with its operands in place, for benches that sample it themselves. @internal */
  subject<Name extends OperationName>(
    operation: Name,
    given: Partial<OperationArguments[Name]>,
    coldBytes: number,
  ): Promise<Subject> {
    return Subject.prepare(this.#lab, operation, given, coldBytes);
  }

  /**
   * Measures the peak rates of the device at this moment.
   *
   * @throws GptOssError INVALID_ARGUMENT, OUT_OF_MEMORY, CLOSED
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * await using cpu = kernels("cpu");
   * const { bytesPerSecond, float32 } = await cpu.roofs({ coldBytes: 2 ** 26 });
   * console.log(bytesPerSecond, float32.flopsPerSecond);
   * ```
   */
  async roofs(options: RoofOptions = {}): Promise<Roofs> {
    const { coldBytes = 2 ** 30, seconds = 0.02 } = readOptions("roofs", options, roofOptionNames);
    checkRange("coldBytes", coldBytes, 2 ** 34);
    checkRange("seconds", seconds, 60);
    return settled(() => this.#lab.roofs(coldBytes, seconds));
  }

  /**
   * Frees everything. Calls that have not begun reject with CLOSED. Further calls of this method do nothing.
   *
   * @example
   * ```ts
   * import { kernels } from "gpt-oss-node/kernels";
   *
   * const cpu = kernels("cpu");
   * await cpu.close();
   * ```
   */
  close(): Promise<void> {
    this.#closing ??= settled(() => this.#lab.close());
    return this.#closing;
  }

  /** Calls `close`: for `await using`. */
  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run<Results>(operation: OperationName, given: object): Promise<Ran<Results>> {
    const { outputs, seconds, work } = await settled(async () => this.#lab.run(requestOf(this.#lab, operation, given)));
    return {
      ...(resultsOf(outputs, given) as Results),
      elapsedMicroseconds: seconds * 1e6,
      bytesMoved: work.bytes,
      flops: work.flops,
    };
  }
}
