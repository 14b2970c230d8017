import { exactJson, jsonText } from "../common/exact-json.js";
import { refuseUnknown } from "../common/unknown-option.js";
import { invalidArgument } from "../errors.js";
import type { OutputFormat } from "../generation/constraint.js";
import type { Message } from "../harmony/message.js";

/** The format of an answer: how the caller requests it, and how the prompt describes it. */

/** Format of an answer, as OpenAI's Chat Completions API has it. */
export type ResponseFormat =
  | { type: "text" }
  /** Any JSON object. */
  | { type: "json_object" }
  | { type: "json_schema"; json_schema: JsonSchemaFormat };

/** A JSON schema that the answer must follow. */
export interface JsonSchemaFormat {
  /** The name in the prompt. Default "response". */
  name?: string;
  /** The purpose of the answer. The model reads it. */
  description?: string | null;
  /** The schema. */
  schema: Record<string, unknown> | boolean;
  /**
   * `true`: a schema that cannot be compiled is refused. Otherwise such a schema is only described to the model, and
   * `relaxed` of the answer lists it. All other schemas are enforced in either case.
   */
  strict?: boolean | null;
}

/** An enforced format, with its name and description in the prompt. */
export type DescribedFormat = OutputFormat & { name?: string; description?: string | null };

/**
 * Reads the `responseFormat` of a chat. Null: any text.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the field
 */
export function readResponseFormat(
  format: ResponseFormat | undefined,
): (DescribedFormat & { strict?: boolean }) | null {
  if (format === undefined) return null;
  refuseUnknown("responseFormat", format, new Set(["type", "json_schema"]));
  const { type } = format;
  if (type !== "text" && type !== "json_object" && type !== "json_schema") {
    throw invalidArgument("responseFormat.type", '"text", "json_object" or "json_schema"', type);
  }
  if (type !== "json_schema") {
    refuseUnknown(`responseFormat of type "${type}"`, format, new Set(["type"]), { at: "responseFormat" });
    return type === "text" ? null : { type };
  }
  return readJsonSchema(format.json_schema);
}

function readJsonSchema(given: JsonSchemaFormat): DescribedFormat & { strict?: boolean } {
  const at = "responseFormat.json_schema";
  refuseUnknown(at, given, new Set(["name", "description", "schema", "strict"]));
  const { name, description, schema, strict } = given;
  if (name !== undefined && (typeof name !== "string" || !/^[^\r\n]{1,256}$/.test(name))) {
    throw invalidArgument(`${at}.name`, "one line of 1 to 256 characters", name);
  }
  if (description !== undefined && description !== null && typeof description !== "string") {
    throw invalidArgument(`${at}.description`, "a string", description);
  }
  if (typeof schema !== "boolean" && (schema === null || typeof schema !== "object" || Array.isArray(schema))) {
    throw invalidArgument(`${at}.schema`, "a JSON schema", schema);
  }
  if (strict !== undefined && strict !== null && typeof strict !== "boolean") {
    throw invalidArgument(`${at}.strict`, "true or false", strict);
  }
  jsonText(`${at}.schema`, schema); // throws for a value without a JSON text
  return {
    type: "json_schema",
    schema,
    strict: strict === true,
    ...(name !== undefined && { name }),
    ...(description && { description }),
  };
}

/** Adds `# Response Formats`, in the form of the training data, at the end of the first developer message. */
export function describeFormat(messages: Message[], format: DescribedFormat): void {
  const lines = ["# Response Formats", "", `## ${format.name ?? "response"}`, ""];
  const description = format.description ?? meaningOf(format);
  if (description) lines.push(...description.split(/\r?\n/).map((line) => `// ${line}`));
  lines.push(exactJson(schemaOf(format)));
  const text = lines.join("\n");

  const [, first] = messages; // after the system message
  if (first?.role === "developer" && Array.isArray(first.content)) {
    first.content = [...first.content, { type: "text", text: `\n\n${text}` }];
  } else {
    messages.splice(1, 0, { role: "developer", content: [{ type: "text", text }] });
  }
}

function meaningOf(format: OutputFormat): string | null {
  return format.type === "regex" || format.type === "choice" ? "The text itself, without quotation marks" : null;
}

function schemaOf(format: OutputFormat): unknown {
  switch (format.type) {
    case "json_schema":
      return format.schema;
    case "json_object":
      return { type: "object" };
    case "regex":
      return { type: "string", pattern: format.pattern };
    case "choice":
      return { type: "string", enum: format.choices };
  }
}
