import { types } from "node:util";
import { GptOssError, invalidArgument } from "../errors.js";

/**
 * Reads each value of a caller only once: a getter or a Proxy can throw, or give another value the next time. The copy
 * is checked, and only the checked copy is used.
 */

/**
 * The maximum number of values of one argument, nested ones included. A larger argument is not a conversation or a
 * schema.
 */
const mostValues = 2 ** 24;

/**
 * Runs code that reads the caller's `name`. An exception of a getter, a trap or a method of the value becomes
 * INVALID_ARGUMENT.
 *
 * @param field the `field` of the error, as in `invalidArgument`
 * @throws GptOssError
 */
export function reading<T>(name: string, read: () => T, field: string | null = name): T {
  try {
    return read();
  } catch (cause) {
    throw readFailure(name, cause, field);
  }
}

/** Converts an exception from reading the caller's `name` into the error to throw. */
export function readFailure(name: string, cause: unknown, field: string | null = name): GptOssError {
  if (cause instanceof GptOssError) return cause;
  return new GptOssError("INVALID_ARGUMENT", `${name} cannot be read: ${thrownText(cause)}`, { cause, field });
}

/** Describes a thrown value, which may be of any type. */
function thrownText(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return "what was thrown has no text";
  }
}

/**
 * Copies data into new arrays, Maps and objects, at any depth. Other values than these and plain objects stay the same:
 * functions, typed arrays, instances of classes.
 *
 * @throws GptOssError INVALID_ARGUMENT for unreadable values, and for more than 16,777,216 values
 */
export function plainCopy<T>(name: string, value: T): T {
  return reading(name, () => new Copier(name).copy(value) as T);
}

/**
 * Marks plain data (objects, arrays and other JSON values) that this package parsed or made, and that no caller can
 * change. Such data need not be copied again.
 */
export function own<T extends object>(value: T): T {
  owned.add(value);
  return value;
}

const owned = new WeakSet<object>();

class Copier {
  readonly #name: string;
  readonly #copies = new Map<object, unknown>();
  #values = 0;

  constructor(name: string) {
    this.#name = name;
  }

  copy(value: unknown): unknown {
    if (typeof value !== "object" || value === null || owned.has(value)) return value;
    const known = this.#copies.get(value);
    if (known !== undefined) return known;
    if (Array.isArray(value)) return this.#array(value);
    if (types.isMap(value)) return this.#map(value);
    return isPlain(value) ? this.#object(value as Record<string, unknown>) : value;
  }

  /** Copies without the array's methods, which may be the caller's own. A hole becomes `undefined`. */
  #array(items: readonly unknown[]): unknown[] {
    const { length } = items;
    this.#count(length);
    const copy: unknown[] = [];
    this.#copies.set(items, copy);
    for (let i = 0; i < length; i++) copy.push(this.copy(items[i]));
    return copy;
  }

  #map(map: ReadonlyMap<unknown, unknown>): Map<unknown, unknown> {
    const copy = new Map<unknown, unknown>();
    this.#copies.set(map, copy);
    Map.prototype.forEach.call(map, (value: unknown, key: unknown) => {
      this.#count(1);
      copy.set(key, this.copy(value));
    });
    return copy;
  }

  #object(object: Record<string, unknown>): Record<string, unknown> {
    const keys = Object.keys(object);
    this.#count(keys.length);
    const copy: Record<string, unknown> = {};
    this.#copies.set(object, copy);
    for (const key of keys) {
      const value = this.copy(object[key]);
      if (key !== "__proto__") copy[key] = value;
      else Object.defineProperty(copy, key, { value, enumerable: true, configurable: true, writable: true });
    }
    return copy;
  }

  #count(more: number): void {
    this.#values += more;
    if (this.#values <= mostValues) return;
    const message = `${this.#name} has more than ${mostValues} values`;
    throw new GptOssError("INVALID_ARGUMENT", message, { field: this.#name });
  }
}

/** True for plain objects of any realm: the prototype is null, or has a null prototype. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Reads each element once. @throws GptOssError INVALID_ARGUMENT for a value that is not an array, or has more than
 * `most`
 */
export function readArray(name: string, value: unknown, expected: string, most = mostValues): unknown[] {
  return reading(name, () => {
    if (!Array.isArray(value)) throw invalidArgument(name, expected, value);
    return readElements(name, value, most);
  });
}

function readElements(name: string, list: ArrayLike<unknown>, most: number): unknown[] {
  const length = lengthOf(list);
  if (!Number.isInteger(length) || length < 0 || length > most) {
    const message = `Expected at most ${most} elements for ${name} but received ${length}`;
    throw new GptOssError("INVALID_ARGUMENT", message, { field: name });
  }
  const elements: unknown[] = [];
  for (let i = 0; i < length; i++) elements.push(list[i]);
  return elements;
}

const typedLength = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "length")!.get!;

/** The length of a list. For a typed array, the true length, even if a property shadows it; 0 when it is detached. */
export function lengthOf(list: ArrayLike<unknown>): number {
  return types.isTypedArray(list) ? (typedLength.call(list) as number) : list.length;
}

/** A list of token ids, with the texts of its error messages. */
export interface IdList {
  name: string;
  /** The `field` of the error. For an element, its index is added. */
  field: string;
  expected: string;
  /** Returns the name of an element. */
  element: (index: number) => string;
  /** The expected kind of an element. The addon checks the elements of a Uint32Array. */
  idExpected: string;
  isId: (id: number) => boolean;
}

/**
 * Returns token ids for the addon, in memory that is not shared: another thread could change shared memory.
 *
 * @returns a number when there are more ids than `most`: their count
 * @throws GptOssError INVALID_ARGUMENT
 */
export function readIds(
  ids: unknown,
  most: number,
  { name, field, expected, element, idExpected, isId }: IdList,
): Uint32Array | number {
  const read = () => {
    if (ids === null || typeof ids !== "object") throw invalidArgument(name, expected, ids, field);
    const list = ids as ArrayLike<unknown>;
    const length: unknown = lengthOf(list);
    if (typeof length !== "number") throw invalidArgument(name, expected, ids, field);
    if (!Number.isInteger(length) || length < 0 || length > 2 ** 32 - 1) {
      throw invalidArgument(`the length of ${name}`, "an integer in [0, 4294967295]", length, field);
    }
    if (length > most) return length;
    if (types.isUint32Array(list)) return new Uint32Array(list);
    const out = new Uint32Array(length);
    for (let i = 0; i < length; i++) {
      const id = list[i];
      if (typeof id !== "number" || !Number.isInteger(id) || !isId(id))
        throw invalidArgument(element(i), idExpected, id, `${field}[${i}]`);
      out[i] = id;
    }
    return out;
  };
  return reading(name, read, field);
}
