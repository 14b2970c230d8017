/** The kernel lab of the addon: single operations of a backend. `lib/kernels` is its public face. */

/** Element types of arrays: float32, the bits of bf16, int32 and bytes. */
export type NativeDtype = "f32" | "bf16" | "i32" | "u8";

export interface NativeLabOptions {
  backend: string;
  /** 0: the addon chooses. */
  threads: number;
  /** Instruction set of the CPU; empty: the addon chooses. */
  isa: string;
  numerics: string;
  denseWeights: string;
  repeatable: boolean;
  /** Whether each of the lab's threads stays on a core of its own, the first ones of the process. */
  pinned: boolean;
}

/**
 * Random operands that the addon makes itself, the same for the same key: weights in `kernels/common/synthetic.h`, others
 * in `native/lab/random_operands.h`.
 */
export interface SyntheticArray {
  /**
   * `"normal"` and `"norm"`: bf16, around 0 and 1, with deviation `scale`. `"codes"` and `"scales"`: of MXFP4. `"floats"`:
   * the values of `"normal"` in float32. `"tokens"`: int32 below the number `vocab`. `"choices"`: of `experts`, by its
   * numbers; `elements` does not matter.
   */
  synthetic: "normal" | "norm" | "codes" | "scales" | "floats" | "tokens" | "choices";
  elements: number;
  key: number;
  scale: number;
}

/** A call of an operation, its arguments by their types. A number among the arrays is that of a buffer. */
export interface NativeLabRequest {
  operation: string;
  numbers: Record<string, number>;
  words: Record<string, string>;
  arrays: Record<string, NodeJS.TypedArray | SyntheticArray | number>;
}

/** Results by name; without members: in the caller's own buffer of this name. */
export type NativeLabOutputs = Record<string, { dtype?: NativeDtype; bytes?: Uint8Array<ArrayBuffer> }>;

export interface NativeWork {
  bytes: number;
  flops: number;
  onBf16Unit: boolean;
}

export interface NativeLabInfo {
  backend: string;
  device: string;
  isa: string;
  threads: number;
  numerics: string;
  activations: "f32" | "bf16";
  operations: string[];
}

/** Calls run in their order, on the lab's own thread. After `close` they are refused with CLOSED. */
export interface NativeLab {
  info(): Promise<NativeLabInfo>;
  createBuffer(dtype: NativeDtype, elements: number): Promise<number>;
  writeBuffer(id: number, firstByte: number, from: NodeJS.TypedArray): Promise<void>;
  readBuffer(id: number): Promise<Uint8Array<ArrayBuffer>>;
  disposeBuffer(id: number): Promise<void>;
  run(request: NativeLabRequest): Promise<{ outputs: NativeLabOutputs; seconds: number; work: NativeWork }>;
  /** Keeps the operands on the device; the copies of the weights take so many bytes together. */
  prepare(request: NativeLabRequest, coldBytes: number): Promise<{ id: number; work: NativeWork }>;
  /** Runs it so often, with the next copies. Resolves to the seconds of all calls together. */
  repeat(id: number, calls: number): Promise<number>;
  /** Runs it once, the first time, and compares the results with those of plain loops. */
  compare(id: number): Promise<{ values: number; worst: number; where: string }>;
  outputs(id: number): Promise<NativeLabOutputs>;
  dispose(id: number): Promise<void>;
  /** Measures the peak rates of the device. */
  roofs(coldBytes: number, seconds: number): Promise<NativeRoofs>;
  close(): Promise<void>;
}

export interface NativeRoofs {
  bytesPerSecond: number;
  bytesBy: string;
  float32: { instruction: string; flopsPerSecond: number };
  bf16: { instruction: string; flopsPerSecond: number } | null;
}
