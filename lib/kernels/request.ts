import { types } from "node:util";
import { reading } from "../common/given-values.js";
import { GptOssError, invalidArgument } from "../errors.js";
import type { NativeLab, NativeLabOutputs, NativeLabRequest, SyntheticArray } from "../native/lab.js";
import { arrayTypes, DeviceBuffer } from "./device-buffer.js";

/** Values by the names of arguments. Without a prototype, every name is only a name. */
function named<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

/** Reads each argument of a call once. Undefined ones are absent. */
export function readArguments(operation: string, given: unknown): Record<string, unknown> {
  const what = `the arguments of ${operation}`;
  if (typeof given !== "object" || given === null) throw invalidArgument(what, "an object", given, null);
  const values = named<unknown>();
  for (const name of reading(what, () => Object.keys(given), null)) {
    const value = reading(name, () => (given as Record<string, unknown>)[name]);
    if (value !== undefined) values[name] = value;
  }
  return values;
}

/** Sorts the arguments of a call by their types. The addon knows their names, and checks all else. */
export function requestOf(lab: NativeLab, operation: string, given: unknown): NativeLabRequest {
  const request: NativeLabRequest = { operation, numbers: named(), words: named(), arrays: named() };
  for (const [name, value] of Object.entries(readArguments(operation, given))) {
    if (typeof value === "number") request.numbers[name] = value;
    else if (typeof value === "string") request.words[name] = value;
    else request.arrays[name] = arrayOf(lab, name, value);
  }
  return request;
}

function arrayOf(lab: NativeLab, name: string, value: unknown): NodeJS.TypedArray | SyntheticArray | number {
  // Another thread could change shared memory while it is copied.
  if (types.isTypedArray(value)) return types.isSharedArrayBuffer(value.buffer) ? value.slice() : value;
  if (value instanceof DeviceBuffer) {
    if (value.isOf(lab)) return value.id;
    throw new GptOssError("INVALID_ARGUMENT", `${name} is a buffer of other kernels`, { field: name });
  }
  if (isSynthetic(value)) return value;
  throw invalidArgument(name, "a number, a string, a typed array or a DeviceBuffer", value);
}

/** Only `operands.ts` makes these. */
const made = new WeakSet<object>();

export function synthetic(kind: SyntheticArray["synthetic"], elements: number, key: number, scale = 1): SyntheticArray {
  const array = { synthetic: kind, elements, key, scale };
  made.add(array);
  return array;
}

function isSynthetic(value: unknown): value is SyntheticArray {
  return typeof value === "object" && value !== null && made.has(value);
}

/** The results by name: typed arrays, or the buffers that the call passed for them. */
export function resultsOf(outputs: NativeLabOutputs, given: object): Record<string, unknown> {
  const results: Record<string, unknown> = {};
  for (const [name, { dtype, bytes }] of Object.entries(outputs)) {
    results[name] = dtype && bytes ? new arrayTypes[dtype](bytes.buffer) : (given as Record<string, unknown>)[name];
  }
  return results;
}
