import { types } from "node:util";
import { GptOssError } from "../errors.js";
import { JsonNumber, readJson } from "./raw-json.js";

/**
 * JSON whose integers keep all their digits. `JSON.parse` and `JSON.stringify` cut those of more than 53 bits: a bound or
 * an id of 64 bits comes out as another number.
 */

/** Levels that the addon reads, and a few for what stands around a schema; also what ends a cyclic object. */
const maxDepth = 200;

/**
 * As `JSON.stringify` writes it, except: every digit of an integer number below 1e21, of a bigint and of a `JsonNumber`.
 *
 * @throws GptOssError INVALID_ARGUMENT for a value that has no JSON text, or more than 200 levels
 */
export function exactJson(value: unknown): string {
  const text = plainText(value) ?? write(value, "", 0);
  if (text === undefined)
    throw new GptOssError("INVALID_ARGUMENT", `Expected a JSON value but received ${typeof value}`);
  return text;
}

/** What `JSON.stringify` writes, several times as fast, where every number in it is exact; undefined: that is not certain. */
function plainText(value: unknown): string | undefined {
  const before = JsonNumber.written;
  try {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined || JsonNumber.written !== before || /\d{16}/.test(text)) return undefined;
    return text;
  } catch {
    return undefined; // the slow way says why
  }
}

/** The same of what a caller gave as `name`. @throws GptOssError INVALID_ARGUMENT that names it */
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
 * For another thread, which gets copies of plain values only: each `JsonNumber` in what `parseJson` has read becomes a
 * bigint, in place. Returns whether there was one.
 */
export function toBigints(value: unknown): boolean {
  return replaceEach(value, (item) => (item instanceof JsonNumber ? BigInt(item.lexeme) : item));
}

/** Takes `toBigints` back. */
export function toJsonNumbers(value: unknown): boolean {
  return replaceEach(value, (item) => (typeof item === "bigint" ? new JsonNumber(String(item)) : item));
}

/** Replaces members and elements of any depth in place; says whether one was another. */
function replaceEach(value: unknown, replace: (item: unknown) => unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  let changed = false;
  const holder = value as Record<string, unknown>;
  for (const name of Object.keys(holder)) {
    const item = replace(holder[name]);
    if (item === holder[name]) {
      changed = replaceEach(item, replace) || changed;
    } else {
      Object.defineProperty(holder, name, { value: item }); // an assignment to `__proto__` would be another thing
      changed = true;
    }
  }
  return changed;
}

function hasToJson(value: unknown): value is { toJSON(key: string): unknown } {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return typeof (value as { toJSON?: unknown }).toJSON === "function";
}

/** Digits enough to lose some, where a value can stand. Text that only looks like it costs time and nothing else. */
const wideNumber = /[[:,]\s*-?\d{16}/;

/**
 * As `JSON.parse` reads it; integers that a JavaScript number cannot hold are each a `JsonNumber` where `isExact` says so
 * of the names of the members around them (the indexes of arrays left out). A member named `__proto__` is one like any other.
 *
 * @throws SyntaxError
 */
export function parseJson(text: string, isExact: (path: readonly string[]) => boolean): unknown {
  const value: unknown = JSON.parse(text);
  return wideNumber.test(text) ? withExact(value, readJson(text, "JSON", null), [], isExact) : value;
}

/** The same value, exact where it is asked for; `raw` is what `readJson` makes of it. */
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
