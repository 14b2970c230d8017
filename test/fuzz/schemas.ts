/**
 * Random JSON schemas over all keywords that the compiler accepts, for `npm run fuzz:schemas` and a part of it in the
 * tests. They are small, and combined schemas often have the same type. Otherwise `allOf` would seldom have values.
 */

export type JsonSchema = Record<string, unknown>;

const types = ["string", "number", "integer", "boolean", "null", "array", "object"] as const;
type Type = (typeof types)[number];

const names = ["a", "b", "c", "long name", "é", "constructor"];
/** For listed values: ajv treats equal objects with a member "constructor" as different. */
const valueNames = names.filter((name) => name !== "constructor");
const texts = ["", "a", "ab", "b", "x-1", "é😀", 'say "no"', "12", "2024-02-29"];
const numbers = [-7, -1, 0, 1, 2, 2.5, 3, 10, 100, 1e6];
const patterns = ["^a", "b$", "^[a-c]{1,4}$", "x", "^\\d+$", "^(ab|cd)*$", "^.{2,5}$", "[^a-z]", "^a?b?c?$", "\\w{3}"];
const namePatterns = ["^a", "^[bc]$", "^x_", "e$", "^.{1,3}$"];
/** The enforced formats, and one unknown format. */
const formats = [
  "date",
  "time",
  "date-time",
  "duration",
  "email",
  "hostname",
  "ipv4",
  "ipv6",
  "uuid",
  "uri",
  "no-such-format",
];
const consequence = "then"; // as a constant: an object literal with a member `then` would count as a promise
const annotations = { title: "T", description: "D", default: 1, examples: [1], deprecated: true, "x-own": { a: 1 } };

export class SchemaFuzzer {
  readonly #random: () => number;
  #defs: JsonSchema = {};

  /** @param random returns numbers in [0, 1) that determine every choice */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Draws a schema; with `type`, its values have this type. */
  draw(type?: Type): JsonSchema {
    this.#defs = {};
    const count = this.#chance(0.3) ? 1 + this.#below(2) : 0;
    const defs = Array.from({ length: count }, (_, i) => `d${i}`);
    for (const name of defs) this.#defs[name] = {}; // references may precede its drawing
    for (const name of defs) this.#defs[name] = this.#schema(2, this.#type());
    const root = type === undefined ? this.#schema(3) : { ...this.#schema(3, type), type };
    return count === 0 ? root : { ...root, $defs: this.#defs };
  }

  /** `type`: the type of most of its values, so that several schemas in one place have values in common. */
  #schema(depth: number, type: Type = this.#type()): JsonSchema {
    const schema: JsonSchema = this.#chance(0.85) ? this.#typed(depth, type) : {};
    if (depth > 0 && this.#chance(0.4)) Object.assign(schema, this.#combined(depth, type));
    if (this.#chance(0.06)) Object.assign(schema, this.#listed(type));
    if ("type" in schema && this.#chance(0.08)) schema.nullable = true;
    if (this.#chance(0.05)) Object.assign(schema, this.#some(annotations, 0.4));
    return this.#shuffled(schema);
  }

  #combined(depth: number, type: Type): JsonSchema {
    const several = () => Array.from({ length: 1 + this.#below(3) }, () => this.#schema(depth - 1, this.#near(type)));
    const one = () => this.#schema(depth - 1, this.#near(type));
    const refs = Object.keys(this.#defs);
    switch (this.#below(9)) {
      case 0:
      case 1:
      case 2:
        return { allOf: several() };
      case 3:
        return { anyOf: several() };
      case 4:
        return { oneOf: this.#chance(0.6) ? several() : this.#chance(0.5) ? this.#lists(type) : this.#union(depth) };
      case 5:
        return { allOf: several(), anyOf: several() };
      case 6:
        return refs.length > 0 ? { $ref: `#/$defs/${this.#of(refs)}` } : {};
      case 7:
        return this.#chance(0.5) ? { not: one() } : this.#some({ if: one(), [consequence]: one(), else: one() }, 0.7);
      default:
        return refs.length > 0 ? { allOf: [{ $ref: `#/$defs/${this.#of(refs)}` }, one()] } : { anyOf: several() };
    }
  }

  /** Lists of values; some values are in two lists. */
  #lists(type: Type): JsonSchema[] {
    const pool = Array.from({ length: 4 }, () => this.#value(type, 1));
    const list = () => [...new Set(Array.from({ length: 1 + this.#below(2) }, () => this.#of(pool)))];
    return Array.from({ length: 2 + this.#below(3) }, () => ({ enum: list() }));
  }

  /** Schemas of objects that one property may distinguish. */
  #union(depth: number): JsonSchema[] {
    return Array.from({ length: 2 + this.#below(3) }, (_, i) => ({
      ...(this.#chance(0.9) && { type: "object" }),
      properties: { kind: { const: this.#chance(0.9) ? i : 0 }, value: this.#schema(Math.max(0, depth - 2)) },
      required: this.#chance(0.9) ? ["kind", "value"] : ["value"],
    }));
  }

  #listed(type: Type): JsonSchema {
    const values = () => Array.from({ length: 1 + this.#below(4) }, () => this.#value(type, 1));
    return this.#chance(0.5) ? { enum: values() } : { const: this.#value(type, 1) };
  }

  #typed(depth: number, type: Type): JsonSchema {
    const said = this.#chance(0.8) ? { type: this.#chance(0.1) ? [...new Set([type, this.#type()])] : type } : {};
    switch (type) {
      case "string":
        return { ...said, ...this.#string() };
      case "number":
      case "integer":
        return { ...said, ...this.#number() };
      case "array":
        return { ...said, ...this.#array(depth) };
      case "object":
        return { ...said, ...this.#object(depth) };
      default:
        return { ...said };
    }
  }

  #string(): JsonSchema {
    return this.#some(
      {
        minLength: this.#below(4),
        maxLength: this.#below(9),
        pattern: this.#of(patterns),
        format: this.#of(formats),
      },
      0.25,
    );
  }

  #number(): JsonSchema {
    return this.#some(
      {
        minimum: this.#of(numbers),
        maximum: this.#of(numbers),
        exclusiveMinimum: this.#of(numbers),
        exclusiveMaximum: this.#of(numbers),
        multipleOf: this.#of([1, 2, 0.5, 0.25, 3, 10]),
      },
      0.25,
    );
  }

  #array(depth: number): JsonSchema {
    const item = () => (depth > 0 ? this.#schema(depth - 1) : { type: this.#of(["boolean", "null", "integer"]) });
    return this.#some(
      {
        items: this.#chance(0.1) ? this.#chance(0.5) : item(),
        prefixItems: Array.from({ length: 1 + this.#below(3) }, item),
        minItems: this.#below(3),
        maxItems: this.#below(4),
        contains: item(),
        minContains: this.#below(2),
        maxContains: 1 + this.#below(2),
        uniqueItems: this.#chance(0.5),
        unevaluatedItems: this.#chance(0.5),
      },
      [0.7, 0.35, 0.3, 0.5, 0.04, 0.04, 0.04, 0.08, 0.06],
    );
  }

  #object(depth: number): JsonSchema {
    const value = () => (depth > 0 ? this.#schema(depth - 1) : { type: this.#of(["boolean", "null", "integer"]) });
    const few = () => names.filter(() => this.#chance(0.35));
    return this.#some(
      {
        properties: Object.fromEntries(few().map((name) => [name, value()])),
        required: few(),
        additionalProperties: this.#chance(0.6) ? this.#chance(0.3) : value(),
        patternProperties: {
          [this.#of(namePatterns)]: value(),
          ...(this.#chance(0.3) && { [this.#of(namePatterns)]: value() }),
        },
        propertyNames: this.#of([
          { pattern: this.#of(namePatterns) },
          { enum: few().concat("a") },
          { maxLength: 3 },
          { type: "string" },
        ]),
        minProperties: this.#below(3),
        maxProperties: this.#below(4),
        unevaluatedProperties: this.#chance(0.5),
        dependentRequired: { a: ["b"] },
      },
      [0.8, 0.5, 0.5, 0.2, 0.12, 0.15, 0.2, 0.06, 0.03],
    );
  }

  #value(type: Type, depth: number): unknown {
    switch (this.#near(type)) {
      case "string":
        return this.#of(texts);
      case "number":
        return this.#of(numbers);
      case "integer":
        return Math.round(this.#of(numbers));
      case "boolean":
        return this.#chance(0.5);
      case "null":
        return null;
      case "array":
        return depth > 0 ? Array.from({ length: this.#below(3) }, () => this.#value(this.#type(), 0)) : [];
      case "object":
        return depth > 0 ? { [this.#of(valueNames)]: this.#value(this.#type(), 0) } : {};
    }
  }

  /** A random selection of members: each with the same probability, or with its own. */
  #some(all: JsonSchema, probability: number | readonly number[]): JsonSchema {
    return Object.fromEntries(
      Object.entries(all).filter((_, i) =>
        this.#chance(typeof probability === "number" ? probability : probability[i]!),
      ),
    );
  }

  #shuffled(schema: JsonSchema): JsonSchema {
    const entries = Object.entries(schema).map((entry) => ({ entry, at: this.#random() }));
    return Object.fromEntries(entries.sort((x, y) => x.at - y.at).map(({ entry }) => entry));
  }

  #near(type: Type): Type {
    return this.#chance(0.85) ? type : this.#type();
  }

  #type(): Type {
    return this.#of(types);
  }

  #of<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!;
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #chance(p: number): boolean {
    return this.#random() < p;
  }
}
