import { isObject } from "../bodies/fields.js";

/** What a response repeats of its request, in the form of OpenAI's document, whichever form the client wrote. */

/** Types of tools that the client runs, beside namespaces of them. */
const clientTypes: ReadonlySet<unknown> = new Set(["function", "custom"]);

type Fields = Readonly<Record<string, unknown>>;

/** The checked tools that the client runs. A namespace without any declares nothing, so it is left out. */
export function repeatedTools(tools: readonly unknown[]): unknown[] {
  return tools.filter(isRepeated).map(repeatedTool);
}

/** @param choice a checked choice */
export function repeatedChoice(choice: unknown): unknown {
  if (!isObject(choice)) return choice ?? "auto";
  if (choice.type !== "allowed_tools") return unnested(choice, choice.type);
  const { mode = "auto", tools, ...rest } = unnested(choice, "allowed_tools");
  return { ...rest, mode, tools: (tools as unknown[]).map(repeatedChoice) };
}

/** A schema that is true or false is written as the object that means the same. */
export function repeatedFormat(format: Fields | null | undefined): Record<string, unknown> {
  if (format === undefined || format === null) return { type: "text" };
  const { schema } = format;
  return typeof schema === "boolean" ? { ...format, schema: schema ? {} : { not: {} } } : { ...format };
}

/** Clients expect the members of a function that a request may leave out. Without `strict`, it is not strict here. */
function repeatedTool(tool: unknown): unknown {
  if (!isObject(tool)) return tool;
  if (tool.type === "function") {
    const { description = null, parameters = null, strict } = tool;
    return { ...tool, description, parameters, strict: strict ?? false };
  }
  if (tool.type === "namespace") {
    const tools = (tool.tools as unknown[]).filter(isClients).map(repeatedTool);
    return { ...tool, description: tool.description ?? "", tools };
  }
  const said = Object.fromEntries(Object.entries(tool).filter(([, value]) => value !== null));
  return isObject(said.format) ? { ...said, format: unnested(said.format, "grammar") } : said;
}

/** Chat completions have members in an object that is named as the type; responses have them beside the type. */
function unnested(fields: Fields, name: unknown): Fields {
  const { [String(name)]: inner, ...rest } = fields;
  return isObject(inner) ? { ...rest, ...inner, type: fields.type } : fields;
}

function isRepeated(tool: unknown): boolean {
  if (!isObject(tool)) return false;
  return tool.type === "namespace" ? (tool.tools as unknown[]).some(isClients) : isClients(tool);
}

function isClients(tool: unknown): boolean {
  return isObject(tool) && clientTypes.has(tool.type);
}
