import type { ToolChoice } from "../../chat/turn-constraint.js";
import { isObject } from "../bodies/fields.js";
import { invalid, requiredString } from "../bodies/refusals.js";
import { readTools } from "../bodies/tool-fields.js";
import { badRequest } from "../http/error-response.js";
import type { DeclaredFunction } from "../turn/turn.js";

/** `functions` and `function_call`: the form of tools before `tools` and `tool_choice`. */

/** The fields of both forms. */
interface OldBody {
  tools?: unknown[];
  tool_choice?: unknown;
  functions?: unknown[];
  function_call?: unknown;
}

/**
 * Returns null for a request without `functions`.
 *
 * @throws ApiError that names the field
 */
export function readFunctions({ functions, tools, tool_choice: choice }: OldBody): DeclaredFunction[] | null {
  if (functions === undefined) return null;
  if (tools !== undefined && tools.length > 0) {
    throw badRequest("functions", "functions and tools cannot be used together: use tools");
  }
  if (choice !== undefined) {
    throw badRequest("tool_choice", "tool_choice cannot be used with functions: use function_call, or tools");
  }
  const spelledAsTools = functions.map((given) => (isObject(given) ? { ...given, type: "function" } : given));
  return readTools(spelledAsTools, "flat", () => {}, "functions");
}

/**
 * Returns null for a request that has neither field.
 *
 * @param functions as `readFunctions` gives them
 * @throws ApiError that names the field
 */
export function readFunctionCall(
  { tools = [], function_call: call }: OldBody,
  functions: readonly DeclaredFunction[] | null,
): ToolChoice | null {
  if (call === undefined && functions === null) return null;
  if (functions === null && tools.length > 0) {
    throw badRequest("function_call", "function_call cannot be used with tools: use tool_choice");
  }
  const declared = functions ?? [];
  if (call === undefined || call === "auto") return { type: declared.length > 0 ? "auto" : "none" };
  if (call === "none") return { type: "none" };
  if (!isObject(call)) throw invalid("function_call", "none, auto or a function", call);
  const name = requiredString(call.name, "function_call.name");
  if (declared.some((known) => known.name === name)) return { type: "required", names: [name] };
  throw invalid("function_call.name", "the name of one of 'functions'", name);
}
