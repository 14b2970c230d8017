import { types } from "node:util";
import { GptOssError, invalidArgument } from "../errors.js";

/**
 * Values as callers give them, each read once: a getter or a Proxy can throw, and say something else the next time. What
 * is checked is the copy, and what is used is what was checked.
 */

/** Values of one argument, those inside it included; what has more is no conversation and no schema. */
const mostValues = 2 ** 24;

/**
 * Runs what reads the caller's `name`. What a getter, a trap or a method of his throws becomes INVALID_ARGUMENT.
 *
 * @param field as that of `invalidArgument`
 * @throws GptOssError
 */
export function reading<T>(name: string, read: () => T, field: string | null = name): T {
  try {
    return read();
  } catch (cause) {
    throw readFailure(name, cause, field);
  }
}

/** What was thrown while the caller's `name` was read, as the error to throw instead. */
export function readFailure(name: string, cause: unknown, field: string | null = name): GptOssError {
  if (cause instanceof GptOssError) return cause;
  return new GptOssError("INVALID_ARGUMENT", `${name} cannot be read: ${thrownText(cause)}`, { cause, field });
}

/** What was thrown, in words; anything can be. */
function thrownText(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return "what was thrown has no text";
  }
}

/**
 * The same data in arrays, Maps and objects of our own, to any depth. What is neither of them nor a plain object stays
 * what it is: functions, typed arrays, instances of classes.
 *
 * @throws GptOssError INVALID_ARGUMENT for what cannot be read, and for more than 16,777,216 values
 */
export function plainCopy<T>(name: string, value: T): T {
  return reading(name, () => new Copier(name).copy(value) as T);
}

/**
 * Says of plain data (objects, arrays and what JSON has) that nobody else has it, so that it need not be copied again: what
 * was parsed or made here.
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

  /** Without its methods, which may be the caller's own, and with a hole as `undefined`. */
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

/** Of any realm: the prototype is none, or one that has none itself. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** The elements of an array, each read once. @throws GptOssError INVALID_ARGUMENT for what is none, or has more than `most` */
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

/** Of a typed array what its memory has, whatever a property of its own says; 0 when it is detached. */
export function lengthOf(list: ArrayLike<unknown>): number {
  return types.isTypedArray(list) ? (typedLength.call(list) as number) : list.length;
}

/** A list of token ids, and how a refusal speaks of it. */
export interface IdList {
  name: string;
  /** The `field` of the refusal; that of an element has its index. */
  field: string;
  expected: string;
  /** The name of one of them. */
  element: (index: number) => string;
  /** What each must be; the elements of a Uint32Array are left to the addon. */
  idExpected: string;
  isId: (id: number) => boolean;
}

/**
 * Token ids as the addon takes them, in memory that nobody else has: another thread could change what is shared.
 *
 * @returns a number: so many there are, more than `most`
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
