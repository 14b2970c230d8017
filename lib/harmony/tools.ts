import { isJsonObject, member } from "../common/raw-json.js";
import { invalidArgument } from "../errors.js";
import { schemaType } from "./json-schema-type.js";
import type { ToolDescription, ToolNamespace, ToolNamespaces } from "./message.js";

/** Tool definitions: from the shape of OpenAI's API, and as the text that stands in a prompt. */

/** A function tool as OpenAI's Chat Completions API has it. */
export interface FunctionTool {
  /** Which tool it is. */
  type: "function";
  /** The function. */
  function: FunctionDefinition;
}

/** A function that the model can call. */
export interface FunctionDefinition {
  /** 1 to 256 characters without spaces, "<" and ">". */
  name: string;
  /** What it does, for the model to read. */
  description?: string | null;
  /** JSON Schema of the arguments; absent or null: the function takes none. */
  parameters?: unknown;
  /** `true`: a chat refuses parameters that it cannot hold the model to; else it only describes them. No part of the prompt. */
  strict?: boolean | null;
}

/** Namespace that holds the caller's functions; their recipients are `functions.NAME`. */
export const functionsNamespace = "functions";

/** A name must stay one word of a message header, and be distinguishable from its markers. */
const toolName = /^[^\s<>]{1,256}$/;

/** @throws GptOssError INVALID_ARGUMENT unless a tool of this name can be addressed in a message header. */
export function checkToolName(value: unknown, name: string, field = name): string {
  if (typeof value !== "string" || !toolName.test(value)) {
    throw invalidArgument(name, 'a name of 1 to 256 characters without spaces, "<" and ">"', value, field);
  }
  return value;
}

/**
 * The `functions` namespace of OpenAI function-tool definitions.
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

/** The `# Tools` section; namespaces in the order of their keys' code points, as the reference's sorted map has them. */
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

/** Lines without their ends; an end of line at the end of the text starts no further line. */
function linesOf(text: string): string[] {
  const lines = text.split("\n");
  const last = lines.pop()!;
  const complete = lines.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  return last === "" ? complete : [...complete, last];
}

function byCodePoints(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
