import { types } from "node:util";
import { GptOssError } from "../errors.js";

/**
 * JSON values for schemas. `JSON.parse` moves integer-like keys to the front and turns `1.0` into `1`, and both changes
 * are visible in a rendered tool definition. A value from `readJson` has `Map` objects and `JsonNumber` numbers. The
 * accessors below accept these values and plain JavaScript values.
 */

/** A number with its original digits. */
export class JsonNumber {
  /** The number of times that JavaScript has written a `JsonNumber` as an ordinary number. */
  static written = 0;

  constructor(readonly lexeme: string) {}

  /** Called by `JSON.stringify`, which supports only ordinary numbers. */
  toJSON(): number {
    JsonNumber.written++;
    return Number(this.lexeme);
  }
}

/** The nesting limit of the reference reader. It also stops at cyclic JavaScript objects. */
export const maxJsonDepth = 128;

const space = /[ \t\n\r]*/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const word = /true|false|null/y;

/** @throws GptOssError INVALID_ARGUMENT with the position of the first character that is not JSON. */
export function readJson(text: string, name: string, field: string | null = name): unknown {
  let at = 0;

  function match(pattern: RegExp): string | undefined {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  }

  function fail(expected: string): never {
    const found = at < text.length ? JSON.stringify(text.slice(at, at + 12)) : "the end of the text";
    const message = `Expected ${expected} at position ${at} of ${name} but received ${found}`;
    throw new GptOssError("INVALID_ARGUMENT", message, { field });
  }

  /** Consumes the next punctuation mark if it is one of `marks`. */
  function take(marks: string): string | undefined {
    match(space);
    const mark = text[at];
    if (mark === undefined || !marks.includes(mark)) return undefined;
    at++;
    return mark;
  }

  /** Finds the closing quote and passes the string to `JSON.parse`, which also refuses bad escapes. */
  function stringValue(): string {
    const open = at;
    if (text[open] !== '"') fail("a JSON string");
    let close = open + 1;
    while (close < text.length && text[close] !== '"') close += text[close] === "\\" ? 2 : 1;
    try {
      const result = JSON.parse(text.slice(open, close + 1)) as string;
      at = close + 1;
      return result;
    } catch {
      return fail("a JSON string");
    }
  }

  function arrayValue(depth: number): unknown[] {
    const items: unknown[] = [];
    if (take("]")) return items;
    do items.push(value(depth));
    while (take(","));
    if (!take("]")) fail('"," or "]"');
    return items;
  }

  function objectValue(depth: number): Map<string, unknown> {
    const members = new Map<string, unknown>();
    if (take("}")) return members;
    do {
      match(space);
      const key = stringValue();
      if (!take(":")) fail('":"');
      members.set(key, value(depth)); // a repeated key keeps its first place and gets its last value
    } while (take(","));
    if (!take("}")) fail('"," or "}"');
    return members;
  }

  function value(depth: number): unknown {
    if (depth > maxJsonDepth) fail(`at most ${maxJsonDepth} levels`);
    const open = take("[{");
    if (open === "[") return arrayValue(depth + 1);
    if (open === "{") return objectValue(depth + 1);
    if (text[at] === '"') return stringValue();
    const literal = match(word);
    if (literal !== undefined) return literal === "null" ? null : literal === "true";
    const digits = match(number);
    return digits === undefined ? fail("a JSON value") : new JsonNumber(digits);
  }

  const result = value(0);
  match(space);
  if (at < text.length) fail("the end of the JSON text");
  return result;
}

/** Whether this is a JSON object, from `readJson` or plain. An instance of any other class is not one. */
export function isJsonObject(value: unknown): value is Map<string, unknown> | Record<string, unknown> {
  if (types.isMap(value)) return true;
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);
}

/** Returns a member of a JSON object; `undefined` when it is absent or `value` is not an object. */
export function member(value: unknown, key: string): unknown {
  if (types.isMap(value)) return value.get(key);
  return isJsonObject(value) && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
}

/** Returns members in written order. Plain objects: in JavaScript's order, without `undefined` members. */
export function members(value: unknown): [string, unknown][] {
  if (types.isMap(value)) return [...(value as Map<string, unknown>)];
  return isJsonObject(value) ? Object.entries(value).filter(([, item]) => item !== undefined) : [];
}

/** JSON text without spaces, numbers in the reference's spelling. */
export function compactJson(value: unknown, depth = 0): string {
  if (depth > maxJsonDepth) {
    throw new GptOssError("INVALID_ARGUMENT", `Expected at most ${maxJsonDepth} levels in a JSON value; is it cyclic?`);
  }
  if (value instanceof JsonNumber) return numberText(value.lexeme);
  if (typeof value === "number") return Number.isFinite(value) ? numberText(JSON.stringify(value)) : "null";
  if (Array.isArray(value)) return `[${value.map((item) => compactJson(item, depth + 1)).join(",")}]`;
  if (isJsonObject(value)) {
    return `{${members(value)
      .map(([key, item]) => `${JSON.stringify(key)}:${compactJson(item, depth + 1)}`)
      .join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/**
 * Returns a number as the reference prints it: 64-bit integers verbatim, all others as the shortest float64 with a
 * fraction or an exponent (`2.0`, `2.50` → `2.5`, `1e3` → `1000.0`, `1E-7` → `1e-7`).
 */
export function numberText(lexeme: string): string {
  if (/^-?\d+$/.test(lexeme) && lexeme !== "-0") {
    const integer = BigInt(lexeme);
    if (integer >= -(2n ** 63n) && integer < 2n ** 64n) return lexeme;
  }
  const value = Number(lexeme);
  if (!Number.isFinite(value)) return lexeme;
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const sign = value < 0 ? "-" : "";
  const [mantissa, exponent] = Math.abs(value).toExponential().split("e") as [string, string];
  const digits = mantissa.replace(".", "");
  const point = Number(exponent) + 1; // the position of the decimal point, counted from the first digit
  if (point > 16 || point <= -5) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
    return `${sign}${digits[0]}${fraction}e${point - 1}`;
  }
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  if (digits.length <= point) return `${sign}${digits.padEnd(point, "0")}.0`;
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}
