import { compactJson, maxJsonDepth, member, members } from "../common/raw-json.js";
import { GptOssError } from "../errors.js";

/**
 * Converts a JSON Schema into the TypeScript-like type that gpt-oss reads in a tool definition. The model was trained
 * on exactly this text, with its oddities: an object's description appears twice, keys are never quoted, `anyOf` is
 * `any`.
 *
 * @param schema JSON Schema as plain objects or from `readJson`; anything unknown becomes `any`
 * @param indent spaces before each line of the type
 * @throws GptOssError INVALID_ARGUMENT when it nests deeper than 128 levels
 */
export function schemaType(schema: unknown, indent: string, depth = 0): string {
  if (depth > maxJsonDepth) {
    throw new GptOssError(
      "INVALID_ARGUMENT",
      `Expected at most ${maxJsonDepth} levels in a tool's parameters; is the schema cyclic?`,
    );
  }
  const variants = member(schema, "oneOf");
  if (Array.isArray(variants)) return union(variants, indent, depth);

  const type = member(schema, "type");
  if (Array.isArray(type)) {
    const names = type.filter((name) => typeof name === "string").map((name) => (name === "integer" ? "number" : name));
    return names.length > 0 ? names.join(" | ") : "any";
  }
  switch (type) {
    case "object":
      return objectType(schema, indent, depth);
    case "string": {
      const choices = strings(member(schema, "enum")).map((choice) => `"${choice}"`);
      return choices.length > 0 ? choices.join(" | ") : "string";
    }
    case "number":
    case "integer":
      return "number";
    case "boolean":
      return "boolean";
    case "array": {
      const items = member(schema, "items");
      return items === undefined ? "Array<any>" : `${schemaType(items, indent, depth + 1)}[]`;
    }
    default:
      return "any";
  }
}

/** A union outside a property: every variant starts a new line. */
function union(variants: unknown[], indent: string, depth: number): string {
  return variants
    .map((variant) => {
      const notes = [text(variant, "description"), defaultNote(variant, jsonDefault)].filter(
        (note) => note !== undefined,
      );
      return `\n${indent} | ${nullableType(variant, `${indent}   `, depth)}${trailing(notes)}`;
    })
    .join("");
}

function objectType(schema: unknown, indent: string, depth: number): string {
  const description = text(schema, "description");
  const head = description === undefined ? "{\n" : `${indent}// ${description}\n{\n`;
  const required = new Set(strings(member(schema, "required")));
  const properties = members(member(schema, "properties")).map(([key, value]) =>
    property(required.has(key) ? key : `${key}?`, value, indent, depth),
  );
  return `${head}${properties.join("")}${indent}}`;
}

function property(key: string, schema: unknown, indent: string, depth: number): string {
  const variants = member(schema, "oneOf");
  const title = text(schema, "title");
  const description = text(schema, "description");
  const examples = member(schema, "examples");

  let lines = "";
  if (title !== undefined) lines += `${indent}// ${title}\n${indent}//\n`;
  if (description !== undefined && variants === undefined) lines += `${indent}// ${description}\n`;
  if (Array.isArray(examples) && examples.length > 0) {
    lines += `${indent}// Examples:\n`;
    for (const example of strings(examples)) lines += `${indent}// - "${example}"\n`;
  }
  if (Array.isArray(variants)) return lines + unionProperty(key, schema, variants, indent, depth);

  const note = variants === undefined ? defaultNote(schema, bareDefault) : undefined;
  return `${lines}${indent}${key}: ${nullableType(schema, `${indent}    `, depth)},${note === undefined ? "" : ` // ${note}`}\n`;
}

/** A property with a union as value: its comments above, one line for each variant, the comma on the last line. */
function unionProperty(key: string, schema: unknown, variants: unknown[], indent: string, depth: number): string {
  const description = text(schema, "description");
  const above = description !== undefined && description !== text(variants[0], "description");
  const note = defaultNote(schema, bareDefault);

  let lines = above ? `${indent}// ${description}\n` : "";
  if (note !== undefined) lines += `${indent}// ${note}\n`;
  lines += `${indent}${key}:\n`;
  for (const [index, variant] of variants.entries()) {
    const own = text(variant, "description");
    const shown = (index === 0 && above) || own === description ? undefined : own;
    const notes = [shown, defaultNote(variant, bareDefault)].filter((item) => item !== undefined);
    lines += `${indent} | ${nullableType(variant, `${indent}   `, depth)}${trailing(notes)}\n`;
  }
  return `${lines}${indent},\n`;
}

function nullableType(schema: unknown, indent: string, depth: number): string {
  const type = schemaType(schema, indent, depth + 1);
  return member(schema, "nullable") === true && !type.includes("null") ? `${type} | null` : type;
}

function trailing(notes: string[]): string {
  return notes.length > 0 ? ` // ${notes.join(" ")}` : "";
}

/** `default: …`. A string default of a schema without an enum is quoted, but not escaped. */
function defaultNote(schema: unknown, ofEnum: (value: string) => string): string | undefined {
  const value = member(schema, "default");
  if (value === undefined) return undefined;
  if (typeof value !== "string") return `default: ${compactJson(value)}`;
  const choices = member(schema, "enum");
  return `default: ${Array.isArray(choices) && choices.length > 0 ? ofEnum(value) : `"${value}"`}`;
}

/** Formats the default of an enum at a property. */
function bareDefault(value: string): string {
  return value;
}

/** Formats the default of an enum in a union outside a property, where the reference keeps JSON quotes. */
function jsonDefault(value: string): string {
  return JSON.stringify(value);
}

function text(schema: unknown, key: string): string | undefined {
  const value = member(schema, key);
  return typeof value === "string" ? value : undefined;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
