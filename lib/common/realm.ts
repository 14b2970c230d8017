import { types } from "node:util";

/**
 * Test runners (jest, vitest's vmThreads) and `node:vm` evaluate modules in a realm of their own, with an Array, an Error
 * and a Uint32Array of its own, and load addons outside of it. What the addon makes then fails every `instanceof`. Here it
 * becomes what this module's realm has made; where there is one realm only, nothing is touched.
 */
export function inThisRealm<T extends object>(addon: T): T {
  return isOwn(addon) ? addon : owned(addon);
}

/** Whether plain values with the prototype of this one are of this realm. */
function isOwn(value: object): boolean {
  return Object.getPrototypeOf(value) === Object.prototype;
}

const views: Readonly<
  Record<string, new (buffer: ArrayBufferLike, offset: number, length: number) => ArrayBufferView>
> = {
  Uint8Array,
  Uint32Array,
  Float32Array,
};

/** The same data. Typed arrays are views of the same memory, errors stay as they are: `fromNative` makes them ours. */
function owned<T>(value: T): T {
  if (typeof value === "function") return wrapped(value as unknown as Callable) as T;
  if (typeof value !== "object" || value === null || types.isNativeError(value)) return value;
  return ownedObject(value) as T;
}

type Callable = (...values: unknown[]) => unknown;

function ownedObject(value: object): unknown {
  if (types.isPromise(value)) return settled(value);
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, length, [Symbol.toStringTag]: kind } = value as Uint8Array;
    return new views[kind]!(buffer, byteOffset, length);
  }
  if (Array.isArray(value)) return Array.from(value, owned);
  // Only a plain object is data: its prototype has none. Others, such as an engine, stay what they are behind their methods.
  const prototype: unknown = Object.getPrototypeOf(value);
  const isData = prototype === null || Object.getPrototypeOf(prototype) === null;
  if (isData) return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, owned(member as unknown)]));
  return new Proxy(value, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key, target);
      return typeof member === "function" ? wrapped(member.bind(target) as Callable) : owned(member);
    },
  });
}

/** A function of the addon, or a callback that it is given. */
function wrapped(call: Callable): Callable {
  return (...values) => owned(call(...values.map((value) => (typeof value === "function" ? taking(value) : value))));
}

function taking(callback: unknown): Callable {
  return (...values) => (callback as Callable)(...values.map(owned));
}

async function settled(promise: Promise<unknown>): Promise<unknown> {
  return owned(await promise);
}

/** Node 20 gives this symbol to its main realm only; elsewhere compilers of `await using` take the other. */
export const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");
