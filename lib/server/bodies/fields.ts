import { toUSVString } from "node:util";
import { badRequest, unsupported } from "../http/error-response.js";
import type { ApiError } from "../http/errors.js";

/**
 * What all endpoints ask of a body beside its JSON schema: that its fields are known, that its texts are Unicode, and
 * that it is not nested without end.
 */

/**
 * What a field holds. `"any"`: all that may be in it is known; its texts are read by people or by the model. `"exact"`:
 * names, ids and patterns, which mean something else when one character changes. `"schema"`: a JSON schema. Members:
 * an object of which no other member is known, unless `*` says what those are (a function tells by the object itself); where a text can stand for it, that is prose. An array has the kind of its
 * elements.
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

/** Known from another API; without effect it would change what the client gets, so it is refused. */
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

/** Levels of a body; JSON that comes is parsed however deep it is, and what walks through it later is not. */
const maxDepth = 128;
/** Elements of the lists in all schemas and in what is exact; token ids are neither. */
const maxListed = 2 ** 16;

/** Of a JSON schema; what is not listed is an annotation, or not known to anybody. */
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
 * Hears of every member that is not known, by its path and by its path without indexes. Lone surrogates, which have no
 * UTF-8, become U+FFFD in prose, as the tokenizer reads them; elsewhere they are refused.
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

/** As `checkFields` does for a schema within a body: for one that came as text. */
export function checkSchema(schema: Record<string, unknown>, at: string): void {
  new Walk(() => {}, [at]).object(schema, "schema");
}

type ObjectKind = "any" | "exact" | "schema" | "schemas" | Members;

class Walk {
  readonly #onUnknown: (param: string, name: string) => void;
  /** Names and indexes from the body to where the walk is. */
  readonly #path: (string | number)[];
  #listed = 0;

  constructor(onUnknown: (param: string, name: string) => void, path: (string | number)[] = []) {
    this.#onUnknown = onUnknown;
    this.#path = path;
  }

  object(value: Record<string, unknown>, kind: ObjectKind): void {
    for (const name of Object.keys(value)) {
      if (toUSVString(name) !== name) throw this.#notUnicode("a name in it");
      if (value[name] === null) continue; // as good as absent
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
      // Where a schema is expected a text may be a name, as in draft 7's dependencies.
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
      if (typeof value[index] === "number") continue; // token ids, a million of them
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
    return badRequest(param, `'${param}' has, with the lists before it, more than ${maxListed} elements`);
  }

  #tooDeep(): ApiError {
    const param = pathOf(this.#path.slice(0, 3));
    return badRequest(param, `'${param}' is nested deeper than ${maxDepth} levels`);
  }
}

/** `messages[0].content`; an index is a number, or `[]` for any. */
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

/** The name of a function in a call of the history: what the header of a harmony message can hold. */
export const calledName = /^[^\s<>]{1,256}$/;
