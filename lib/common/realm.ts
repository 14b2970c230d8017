import { types } from "node:util";

/**
 * Test runners (jest, vitest's vmThreads) and `node:vm` evaluate modules in a separate realm, with different Array,
 * Error and Uint32Array classes. They load addons outside of it. So values of the addon fail every `instanceof`. This
 * function converts them to the classes of this module's realm. With a single realm it changes nothing.
 */
export function inThisRealm<T extends object>(addon: T): T {
  return isOwn(addon) ? addon : owned(addon);
}

/** Whether plain values with the prototype of this one belong to this realm. */
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

/** Converts data to this realm. Typed arrays share their memory. Errors stay unchanged: `fromNative` converts them. */
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
  // Only plain objects are data: their prototype has a null prototype. Others, such as an engine, get a proxy.
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

/** Wraps a function of the addon, or a callback passed to it. */
function wrapped(call: Callable): Callable {
  return (...values) => owned(call(...values.map((value) => (typeof value === "function" ? taking(value) : value))));
}

function taking(callback: unknown): Callable {
  return (...values) => (callback as Callable)(...values.map(owned));
}

async function settled(promise: Promise<unknown>): Promise<unknown> {
  return owned(await promise);
}

/** Node 20 has this symbol only in its main realm. In other realms, compilers of `await using` use the second one. */
export const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");
