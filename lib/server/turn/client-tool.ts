/**
 * A tool as the client knows it. The model knows functions of one namespace only: custom tools are functions of one
 * string for it, and functions in namespaces of the client have the namespace in their names.
 */
export interface ClientTool {
  type: "function" | "custom";
  name: string;
  namespace: string | null;
}

/** A tool under the model's name. Without `client`, the client's name is the same. */
export interface OfferedTool {
  readonly name: string;
  readonly client?: ClientTool;
}

/** The tool that the model calls by this name. A name that no tool has is a function's. */
export function calledTool(tools: readonly OfferedTool[], name: string): ClientTool {
  return clientToolOf(tools.find((tool) => tool.name === name) ?? { name });
}

export function clientToolOf({ name, client }: OfferedTool): ClientTool {
  return client ?? { type: "function", name, namespace: null };
}

/**
 * The model's name of a tool. It was trained on functions of one namespace, so a second namespace in the prompt would
 * be news to it; names like `mcp__files__read` are what it has seen of MCP servers.
 */
export function modelName(namespace: string | null, name: string): string {
  if (namespace === null) return name;
  return namespace.endsWith("__") ? `${namespace}${name}` : `${namespace}__${name}`;
}

/** The arguments of a call of a custom tool with this input, as the model writes them. */
export function customArguments(input: string): string {
  return JSON.stringify({ input });
}
