import { toUSVString } from "node:util";
import { badRequest, unsupported } from "../http/error-response.js";
import type { ApiError } from "../http/errors.js";

/**
 * Checks of a body beyond its JSON schema: its fields are known, its texts are Unicode, and its nesting has a limit.
 */

/**
 * The kind of a field's value. `"any"`: all members are known; its texts are read by people or by the model. `"exact"`:
 * names, ids and patterns, which mean something else when one character changes. `"schema"`: a JSON schema. `Members`:
 * an object with exactly these members, or `*` for any other name. A function chooses the members by the object itself.
 * Where a text can stand for the object, the text is prose. An array has the kind of its elements.
 */
export type Field =
  | "any"
  | "exact"
  | "schema"
  | Misplaced
  | Members
  | ((value: Readonly<Record<string, unknown>>) => Members);
export interface Members {
  readonly [name: string]: Field;
}

/** A field of another API. If it were ignored, the client would get a different answer, so it is refused. */
export class Misplaced {
  constructor(readonly advice: string) {}
}

export function fields(kind: "any" | "exact", names: string): Members {
  return Object.fromEntries(names.split(" ").map((name) => [name, kind]));
}

export function misplaced(names: string, advice: string): Members {
  const field = new Misplaced(advice);
  return Object.fromEntries(names.split(" ").map((name) => [name, field]));
}

/** Maximum levels of a body. The parser accepts any depth, but code that walks through the value later is recursive. */
const maxDepth = 128;
/** Maximum elements of all lists in schemas and in "exact" fields together. Token ids do not count. */
const maxListed = 2 ** 16;

/** The keywords of a JSON schema. All other members are annotations or unknown. */
const keywords: Readonly<Record<string, "exact" | "schema" | "schemas">> = {
  ...Object.fromEntries(
    "$ref $dynamicRef $recursiveRef $id $anchor $dynamicAnchor type enum const pattern format required dependentRequired"
      .split(" ")
      .map((name) => [name, "exact"] as const),
  ),
  ...Object.fromEntries(
    `items prefixItems additionalItems unevaluatedItems contains additionalProperties unevaluatedProperties propertyNames
     allOf anyOf oneOf not if then else`
      .split(/\s+/)
      .map((name) => [name, "schema"] as const),
  ),
  ...Object.fromEntries(
    "properties patternProperties dependentSchemas dependencies $defs definitions"
      .split(" ")
      .map((name) => [name, "schemas"] as const),
  ),
};

/**
 * Calls `onUnknown` for every unknown member, with its path and with its path without indexes. Lone surrogates have no
 * UTF-8 form: in prose they become U+FFFD, as in the tokenizer; elsewhere they are refused.
 *
 * @throws ApiError that names the field
 */
export function checkFields(
  body: Record<string, unknown>,
  known: Members,
  onUnknown: (param: string, name: string) => void,
): void {
  new Walk(onUnknown).object(body, known);
}

/** Checks a schema that came as text in the same way as `checkFields` checks a schema within a body. */
export function checkSchema(schema: Record<string, unknown>, at: string): void {
  new Walk(() => {}, [at]).object(schema, "schema");
}

type ObjectKind = "any" | "exact" | "schema" | "schemas" | Members;

class Walk {
  readonly #onUnknown: (param: string, name: string) => void;
  /** Names and indexes on the way from the body to the current value. */
  readonly #path: (string | number)[];
  #listed = 0;

  constructor(onUnknown: (param: string, name: string) => void, path: (string | number)[] = []) {
    this.#onUnknown = onUnknown;
    this.#path = path;
  }

  object(value: Record<string, unknown>, kind: ObjectKind): void {
    for (const name of Object.keys(value)) {
      if (toUSVString(name) !== name) throw this.#notUnicode("a name in it");
      if (value[name] === null) continue; // the same as absent
      this.#path.push(name);
      this.#member(value, name, this.#kindOf(name, kind));
      this.#path.pop();
    }
  }

  #kindOf(name: string, kind: ObjectKind): Field | "schemas" {
    if (kind === "schemas") return "schema";
    if (kind === "schema") return Object.hasOwn(keywords, name) ? keywords[name]! : "any";
    if (typeof kind === "string") return kind;
    const field = Object.hasOwn(kind, name) ? kind[name] : kind["*"];
    if (field !== undefined) return field;
    this.#onUnknown(pathOf(this.#path), pathOf(this.#path.map((step) => (typeof step === "number" ? "[]" : step))));
    return "any";
  }

  #member(holder: Record<string, unknown> | unknown[], key: string | number, kind: Field | "schemas"): void {
    const value = (holder as Record<string | number, unknown>)[key];
    if (kind instanceof Misplaced) {
      throw badRequest(
        pathOf(this.#path),
        `'${pathOf(this.#path)}' is not supported here: ${kind.advice}`,
        unsupported,
      );
    }
    if (typeof value === "string") {
      const text = toUSVString(value);
      if (text === value) return;
      // Draft 7's `dependencies` have lists of names in places where other keywords have schemas.
      if (typeof kind === "string" && kind !== "any") throw this.#notUnicode("it");
      (holder as Record<string | number, unknown>)[key] = text;
    } else if (typeof value === "object" && value !== null) {
      if (this.#path.length > maxDepth) throw this.#tooDeep();
      if (Array.isArray(value)) this.#array(value, kind);
      else
        this.object(
          value as Record<string, unknown>,
          typeof kind === "function" ? kind(value as Record<string, unknown>) : kind,
        );
    }
  }

  #array(value: unknown[], kind: Field | "schemas"): void {
    if (typeof kind === "string" && kind !== "any") this.#listed += value.length;
    if (this.#listed > maxListed) throw this.#tooMany();
    for (let index = 0; index < value.length; index++) {
      if (typeof value[index] === "number") continue; // token ids, up to a million
      this.#path.push(index);
      this.#member(value, index, kind);
      this.#path.pop();
    }
  }

  #notUnicode(what: string): ApiError {
    const param = pathOf(this.#path.map((step) => (typeof step === "string" ? toUSVString(step) : step)));
    return badRequest(param || null, `'${param}' is not well-formed Unicode: ${what} has a lone surrogate`);
  }

  #tooMany(): ApiError {
    const param = pathOf(this.#path);
    return badRequest(param, `'${param}' and the lists before it have more than ${maxListed} elements together`);
  }

  #tooDeep(): ApiError {
    const param = pathOf(this.#path.slice(0, 3));
    return badRequest(param, `'${param}' is nested deeper than ${maxDepth} levels`);
  }
}

/** Formats a path as `messages[0].content`. An index is a number, or `[]` for any index. */
function pathOf(path: readonly (string | number)[]): string {
  return path
    .map((step, index) => {
      if (typeof step === "number") return `[${step}]`;
      return step === "[]" || index === 0 ? step : `.${step}`;
    })
    .join("");
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Names of called functions that the header of a harmony message can hold. */
export const calledName = /^[^\s<>]{1,256}$/;
