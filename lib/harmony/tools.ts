import { isJsonObject, member } from "../common/raw-json.js";
import { invalidArgument } from "../errors.js";
import { schemaType } from "./json-schema-type.js";
import type { ToolDescription, ToolNamespace, ToolNamespaces } from "./message.js";

/** Tool definitions: reads the shape of OpenAI's API, and writes the text of the prompt. */

/** A function tool as OpenAI's Chat Completions API has it. */
export interface FunctionTool {
  /** The kind of tool. */
  type: "function";
  /** The function. */
  function: FunctionDefinition;
}

/** A function that the model can call. */
export interface FunctionDefinition {
  /** 1 to 256 characters without spaces, "<" and ">". */
  name: string;
  /** The purpose of the function. The model reads it. */
  description?: string | null;
  /** JSON Schema of the arguments. Absent or null: the function takes none. */
  parameters?: unknown;
  /**
   * `true`: a chat refuses parameters that it cannot enforce. Otherwise it only describes them. Not part of the prompt.
   */
  strict?: boolean | null;
}

/** The namespace of the caller's functions. Their recipients are `functions.NAME`. */
export const functionsNamespace = "functions";

/** A name must be one word of a message header and must differ from its markers. */
const toolName = /^[^\s<>]{1,256}$/;

/** @throws GptOssError INVALID_ARGUMENT unless a message header can address a tool of this name. */
export function checkToolName(value: unknown, name: string, field = name): string {
  if (typeof value !== "string" || !toolName.test(value)) {
    throw invalidArgument(name, 'a name of 1 to 256 characters without spaces, "<" and ">"', value, field);
  }
  return value;
}

/**
 * Returns the `functions` namespace of OpenAI function-tool definitions.
 * @throws GptOssError INVALID_ARGUMENT on another kind of tool, a bad or repeated name
 */
export function functionTools(tools: unknown, name = "tools"): ToolNamespace {
  if (!Array.isArray(tools)) throw invalidArgument(name, "an array of function tools", tools);
  const seen = new Set<string>();
  const descriptions = tools.map((tool, index) => {
    const description = readFunctionTool(tool, `${name}[${index}]`);
    if (seen.has(description.name))
      throw invalidArgument(`${name}[${index}].function.name`, "a name used once", description.name);
    seen.add(description.name);
    return description;
  });
  return { name: functionsNamespace, description: null, tools: descriptions };
}

function readFunctionTool(tool: unknown, name: string): ToolDescription {
  const type = member(tool, "type");
  if (type !== "function") throw invalidArgument(`${name}.type`, '"function"', type);
  const definition = member(tool, "function");
  if (!isJsonObject(definition)) throw invalidArgument(`${name}.function`, "a function definition", definition);

  const description = member(definition, "description") ?? "";
  if (typeof description !== "string") throw invalidArgument(`${name}.function.description`, "a string", description);
  const parameters = member(definition, "parameters") ?? null;
  if (parameters !== null && !isJsonObject(parameters)) {
    throw invalidArgument(`${name}.function.parameters`, "a JSON Schema object or null", parameters);
  }
  const strict = member(definition, "strict") ?? null;
  if (strict !== null && typeof strict !== "boolean") {
    throw invalidArgument(`${name}.function.strict`, "true, false or null", strict);
  }
  return { name: checkToolName(member(definition, "name"), `${name}.function.name`), description, parameters };
}

/**
 * Returns the `# Tools` section. Namespaces are sorted by the code points of their keys, like the reference's sorted
 * map.
 */
export function toolsSection(namespaces: ToolNamespaces): string {
  const keys = Object.keys(namespaces).sort(byCodePoints);
  return ["# Tools", ...keys.map((key) => namespaceText(namespaces[key]!))].join("\n\n");
}

function namespaceText(namespace: ToolNamespace): string {
  const hasTools = namespace.tools.length > 0;
  const lines = [`## ${namespace.name}\n`];
  for (const line of linesOf(namespace.description ?? "")) lines.push(hasTools ? `// ${line}` : line);
  if (hasTools) {
    lines.push(`namespace ${namespace.name} {\n`);
    for (const tool of namespace.tools) {
      for (const line of linesOf(tool.description)) lines.push(`// ${line}`);
      const parameters = tool.parameters ?? null;
      const argument = parameters === null ? "" : `_: ${schemaType(parameters, "")}`;
      lines.push(`type ${tool.name} = (${argument}) => any;\n`);
    }
    lines.push(`} // namespace ${namespace.name}`);
  }
  return lines.join("\n");
}

/** Splits into lines without their ends. A final end of line starts no further line. */
function linesOf(text: string): string[] {
  const lines = text.split("\n");
  const last = lines.pop()!;
  const complete = lines.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  return last === "" ? complete : [...complete, last];
}

function byCodePoints(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
