/**
 * Schemas of an OpenAPI document, made strict: a property that the document does not name is a violation, and an object
 * whose tag selects one schema of several is checked against that one alone, so that a violation names its field.
 * `oneOf` is read as `anyOf`: some of OpenAI's alternatives overlap.
 */

export type Schema = boolean | { readonly [keyword: string]: unknown };

const prefix = "#/components/schemas/";

/** Properties whose constant value says which schema an object has, the likeliest first. */
const usualTags = ["type", "object", "role", "event"];

/** Keywords with a schema, a list of schemas, and schemas by name. */
const single = ["items", "additionalProperties", "not", "contains"];
const named = ["properties", "patternProperties"];

export class ClosedSchemas {
  readonly #source: Readonly<Record<string, Schema>>;
  readonly #made: Record<string, Schema> = {};
  /** The component that is being made, to which `$recursiveRef` refers. */
  #within = "";

  constructor(source: Readonly<Record<string, Schema>>) {
    this.#source = source;
  }

  /** A schema that stands by itself, with all that it refers to. */
  standalone(schema: Schema): Schema {
    const root = this.#closed(schema);
    return { allOf: [root], $defs: this.#made };
  }

  #refer(reference: string, isOpen: boolean): Schema {
    const name = this.#nameOf(reference);
    const key = isOpen ? `${name}.open` : name;
    if (!Object.hasOwn(this.#made, key)) {
      this.#made[key] = true; // a schema may refer to itself
      const outer = this.#within;
      this.#within = name;
      const schema = this.#source[name]!;
      this.#made[key] = isOpen ? this.#open(schema) : this.#closed(schema);
      this.#within = outer;
    }
    return { $ref: `#/$defs/${key}` };
  }

  #nameOf(reference: string): string {
    const name = reference.slice(prefix.length);
    if (!reference.startsWith(prefix) || !Object.hasOwn(this.#source, name)) {
      throw new Error(`The document has no ${reference}`);
    }
    return name;
  }

  /** The schema, without properties that it does not name. */
  #closed(schema: Schema): Schema {
    if (typeof schema === "boolean") return schema;
    if (schema.nullable === true) return orNull(this.#closed(withoutNullable(schema)));
    if (typeof schema.$ref === "string") return this.#refer(schema.$ref, false);
    if (schema.$recursiveRef === "#") return this.#refer(prefix + this.#within, false);
    const branches = alternatives(schema);
    if (branches !== undefined && schema.properties === undefined && schema.allOf === undefined) {
      return this.#selected(schema, branches);
    }
    const open = this.#open(schema);
    const isObject = Object.keys(schema.properties ?? {}).length > 0 || schema.allOf !== undefined;
    if (!isObject || schema.additionalProperties !== undefined) return open;
    return { ...(open as object), unevaluatedProperties: false };
  }

  /** The schema with its inner schemas closed. It allows further properties, which a schema beside it may name. */
  #open(schema: Schema): Schema {
    if (typeof schema === "boolean") return schema;
    if (schema.nullable === true) return orNull(this.#open(withoutNullable(schema)));
    if (typeof schema.$ref === "string") return this.#refer(schema.$ref, true);
    const { oneOf: _, discriminator, $recursiveAnchor, ...rest } = schema;
    const out: Record<string, unknown> = { ...rest };
    for (const key of single) if (key in schema) out[key] = this.#closed(schema[key] as Schema);
    for (const key of named) {
      if (!(key in schema)) continue;
      const inner = Object.entries(schema[key] as Record<string, Schema>);
      out[key] = Object.fromEntries(inner.map(([name, value]) => [name, this.#closed(value)]));
    }
    const branches = alternatives(schema);
    if (branches !== undefined) out.anyOf = branches.map((branch) => this.#open(branch));
    if (schema.allOf !== undefined) out.allOf = (schema.allOf as Schema[]).map((branch) => this.#open(branch));
    return out;
  }

  /** One of several schemas, by the tag of an object. */
  #selected(schema: Exclude<Schema, boolean>, branches: readonly Schema[]): Schema {
    const all = branches.flatMap((branch) => this.#leaves(branch));
    const leaves = all.filter((leaf) => typeof leaf === "boolean" || leaf.type !== "null");
    if (leaves.length < all.length) return orNull(this.#selected(schema, leaves));
    if (leaves.length === 1) return this.#closed(leaves[0]!);
    const told = (schema.discriminator as { propertyName?: string } | undefined)?.propertyName;
    const tags = told === undefined ? usualTags : [told, ...usualTags];
    const tag = tags.find((name) => leaves.filter((leaf) => this.#tagValues(leaf, name) !== undefined).length > 1);
    if (tag === undefined) return { anyOf: leaves.map((leaf) => this.#closed(leaf)) };
    const byValue = new Map<unknown, Schema[]>();
    const scalars: Schema[] = [];
    const objects: Schema[] = []; // those of the untagged that an object can have
    for (const leaf of leaves) {
      const values = this.#tagValues(leaf, tag);
      if (values === undefined) (this.#isScalar(leaf) ? scalars : objects).push(this.#closed(leaf));
      for (const value of values ?? []) byValue.set(value, [...(byValue.get(value) ?? []), this.#closed(leaf)]);
    }
    const has = (value: Schema) => ({ type: "object", required: [tag], properties: { [tag]: value } });
    const known = has({ enum: [...byValue.keys()] });
    const choices = [...byValue].map(([value, schemas]) => ({
      if: { not: has({ const: value }) },
      else: { anyOf: [...schemas, ...objects] },
    }));
    return { allOf: [{ anyOf: [known, ...objects, ...scalars] }, ...choices] };
  }

  /** The alternatives of a schema that is nothing but a choice, and of those within it. */
  #leaves(schema: Schema): Schema[] {
    const plain = this.#resolved(schema);
    const branches = typeof plain === "boolean" ? undefined : alternatives(plain);
    const isChoice = branches !== undefined && typeof plain === "object" && !plain.properties && !plain.allOf;
    return isChoice ? branches.flatMap((branch) => this.#leaves(branch)) : [schema];
  }

  #isScalar(schema: Schema): boolean {
    const plain = this.#resolved(schema);
    return typeof plain === "object" && typeof plain.type === "string" && plain.type !== "object";
  }

  #resolved(schema: Schema): Schema {
    if (typeof schema === "boolean" || typeof schema.$ref !== "string") return schema;
    return this.#resolved(this.#source[this.#nameOf(schema.$ref)]!);
  }

  /** The values that an object of this schema can have in a required property, where the schema lists them. */
  #tagValues(schema: Schema, tag: string): readonly unknown[] | undefined {
    const plain = this.#resolved(schema);
    if (typeof plain === "boolean") return undefined;
    const value = (plain.properties as Record<string, Schema> | undefined)?.[tag];
    if (value !== undefined) {
      const constant = this.#resolved(value);
      if (typeof constant === "boolean") return undefined;
      return "const" in constant ? [constant.const] : (constant.enum as unknown[] | undefined);
    }
    for (const part of (plain.allOf as Schema[] | undefined) ?? []) {
      const values = this.#tagValues(part, tag);
      if (values !== undefined) return values;
    }
    return undefined;
  }
}

function alternatives(schema: Exclude<Schema, boolean>): Schema[] | undefined {
  return (schema.anyOf ?? schema.oneOf) as Schema[] | undefined;
}

const nothing = { type: "null" };

/** OpenAPI 3.0's word, which the document still has in places. */
function withoutNullable({ nullable: _, ...schema }: Exclude<Schema, boolean>): Schema {
  return schema;
}

/** So written, a value that is not null violates what `schema` says, and nothing about null. */
function orNull(schema: Schema): Schema {
  return { if: nothing, else: schema };
}
