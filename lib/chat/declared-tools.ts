import type { Message } from "../harmony/message.js";
import { type FunctionTool, functionsNamespace } from "../harmony/tools.js";

export interface CallableFunction {
  name: string;
  /** The JSON schema of the arguments. Null: any arguments. */
  parameters: Record<string, unknown> | null;
  /** Whether parameters that cannot be compiled are refused. */
  strict: boolean;
}

/** The tools that a conversation declares, in any of its messages. */
export interface DeclaredTools {
  /** Functions of the caller. Each name occurs once. */
  functions: readonly CallableFunction[];
  /** Other namespaces, such as `browser`. */
  others: readonly string[];
}

/** @param tools the caller's own definitions: only they contain `strict` */
export function declaredTools(messages: readonly Message[], tools: readonly FunctionTool[] = []): DeclaredTools {
  const strict = new Set(tools.filter((tool) => tool.function.strict).map((tool) => tool.function.name));
  const functions = new Map<string, CallableFunction>();
  const others = new Set<string>();
  for (const { content } of messages) {
    if (typeof content === "string") continue;
    for (const part of content) {
      if (part.type === "text") continue;
      for (const [key, namespace] of Object.entries(part.tools ?? {})) {
        if (key !== functionsNamespace) others.add(key);
        else
          for (const { name, parameters } of namespace.tools) {
            if (!functions.has(name))
              functions.set(name, { name, parameters: objectOf(parameters), strict: strict.has(name) });
          }
      }
    }
  }
  return { functions: [...functions.values()], others: [...others] };
}

/** A schema that is not an object, such as `true`, does not constrain an object. */
function objectOf(schema: unknown): Record<string, unknown> | null {
  return schema !== null && typeof schema === "object" && !Array.isArray(schema)
    ? (schema as Record<string, unknown>)
    : null;
}
