import { types } from "node:util";
import { GptOssError } from "../errors.js";
import { JsonNumber, readJson } from "./raw-json.js";

/**
 * JSON whose integers keep all their digits. `JSON.parse` and `JSON.stringify` round integers of more than 53 bits: a
 * 64-bit bound or id becomes another number.
 */

/**
 * The levels that the addon reads, and a few for the levels around a schema. The limit also stops at cyclic objects.
 */
const maxDepth = 200;

/**
 * Writes JSON like `JSON.stringify`, but with every digit of an integer below 1e21, of a bigint and of a `JsonNumber`.
 *
 * @throws GptOssError INVALID_ARGUMENT for a value that has no JSON text, or more than 200 levels
 */
export function exactJson(value: unknown): string {
  const text = plainText(value) ?? write(value, "", 0);
  if (text === undefined)
    throw new GptOssError("INVALID_ARGUMENT", `Expected a JSON value but received ${typeof value}`);
  return text;
}

/** Uses `JSON.stringify`, which is several times as fast, where every number is exact. Undefined: not certain. */
function plainText(value: unknown): string | undefined {
  const before = JsonNumber.written;
  try {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined || JsonNumber.written !== before || /\d{16}/.test(text)) return undefined;
    return text;
  } catch {
    return undefined; // the slow path reports the reason
  }
}

/** Does the same for the caller's value `name`. @throws GptOssError INVALID_ARGUMENT with this name */
export function jsonText(name: string, value: unknown, field = name): string {
  try {
    return exactJson(value);
  } catch (cause) {
    const message = `${name} cannot be written as JSON: ${String(cause)}`;
    throw new GptOssError("INVALID_ARGUMENT", message, { cause, field });
  }
}

function write(given: unknown, key: string, depth: number): string | undefined {
  if (depth > maxDepth) {
    throw new GptOssError("INVALID_ARGUMENT", `More than ${maxDepth} levels in a JSON value; is it cyclic?`);
  }
  if (given instanceof JsonNumber) return given.lexeme;
  const value = hasToJson(given) ? given.toJSON(key) : given;
  if (typeof value === "number") {
    const isWide = Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21;
    return isWide ? BigInt(value).toString() : JSON.stringify(value);
  }
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) {
    return `[${value.map((item, index) => write(item, String(index), depth + 1) ?? "null").join(",")}]`;
  }
  if (value === null || typeof value !== "object" || types.isBoxedPrimitive(value))
    return JSON.stringify(value) as string | undefined;
  const members: string[] = [];
  for (const [name, item] of Object.entries(value)) {
    const text = write(item, name, depth + 1);
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(",")}}`;
}

/**
 * Prepares a result of `parseJson` for another thread, which receives copies of plain values only: each `JsonNumber`
 * becomes a bigint, in place. Returns whether there was one.
 */
export function toBigints(value: unknown): boolean {
  return replaceEach(value, (item) => (item instanceof JsonNumber ? BigInt(item.lexeme) : item));
}

/** Reverses `toBigints`. */
export function toJsonNumbers(value: unknown): boolean {
  return replaceEach(value, (item) => (typeof item === "bigint" ? new JsonNumber(String(item)) : item));
}

/** Replaces members and elements of any depth in place. Returns whether any value changed. */
function replaceEach(value: unknown, replace: (item: unknown) => unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  let changed = false;
  const holder = value as Record<string, unknown>;
  for (const name of Object.keys(holder)) {
    const item = replace(holder[name]);
    if (item === holder[name]) {
      changed = replaceEach(item, replace) || changed;
    } else {
      Object.defineProperty(holder, name, { value: item }); // an assignment to `__proto__` would set the prototype
      changed = true;
    }
  }
  return changed;
}

function hasToJson(value: unknown): value is { toJSON(key: string): unknown } {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return typeof (value as { toJSON?: unknown }).toJSON === "function";
}

/** Finds numbers with enough digits to lose some. A false match in a string only costs time. */
const wideNumber = /[[:,]\s*-?\d{16}/;

/**
 * Parses JSON like `JSON.parse`. But an integer that a JavaScript number cannot represent becomes a `JsonNumber` where
 * `isExact` accepts its path: the names of the members around it, without array indexes. A member named `__proto__` is
 * treated like any other.
 *
 * @throws SyntaxError
 */
export function parseJson(text: string, isExact: (path: readonly string[]) => boolean): unknown {
  const value: unknown = JSON.parse(text);
  return wideNumber.test(text) ? withExact(value, readJson(text, "JSON", null), [], isExact) : value;
}

/** Returns the same value, with exact numbers where required. `raw` is the result of `readJson`. */
function withExact(
  value: unknown,
  raw: unknown,
  path: readonly string[],
  isExact: (path: readonly string[]) => boolean,
): unknown {
  if (isExact(path)) return exactValue(raw);
  if (Array.isArray(value)) {
    return value.map((item: unknown, index) => withExact(item, (raw as unknown[])[index], path, isExact));
  }
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([name, item]): [string, unknown] => [
    name,
    withExact(item, (raw as Map<string, unknown>).get(name), [...path, name], isExact),
  ]);
  return Object.fromEntries(entries);
}

function exactValue(raw: unknown): unknown {
  if (raw instanceof JsonNumber) {
    const near = Number(raw.lexeme);
    const isWhole = /^-?\d+$/.test(raw.lexeme);
    return isWhole && !Number.isSafeInteger(near) && BigInt(raw.lexeme) !== BigInt(near) ? raw : near;
  }
  if (Array.isArray(raw)) return raw.map(exactValue);
  if (raw instanceof Map) return Object.fromEntries([...raw].map(([name, item]) => [name, exactValue(item)]));
  return raw;
}
