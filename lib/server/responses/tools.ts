import type { ToolChoice } from "../../chat/turn-constraint.js";
import { own } from "../../common/given-values.js";
import { isObject } from "../bodies/fields.js";
import { mostTools } from "../bodies/tool-fields.js";
import { ApiError } from "../http/errors.js";
import type { Warning } from "../http/warnings.js";
import type { DeclaredFunction } from "../turn/turn.js";
import { invalid, optionalString, requiredString, unsupported } from "./refusals.js";

/** The tools of a request and the choice among them. */

export interface ReadTools {
  functions: DeclaredFunction[];
  /** The functions as they were declared, for the response to repeat. */
  declared: unknown[];
  /** Tools that this server has no backend for, one of each type. */
  ignored: Warning[];
}

const functionName = /^[a-zA-Z0-9_.-]{1,64}$/;

/**
 * Functions are the client's own; tools of other types run at OpenAI, and agents declare them whether or not they are
 * there, so they are left out instead of refused.
 *
 * @throws ApiError that names the field
 */
export function readTools(tools: readonly unknown[] | null | undefined): ReadTools {
  const read: ReadTools = { functions: [], declared: [], ignored: [] };
  const names = new Set<string>();
  const types = new Set<string>();
  for (const [index, tool] of (tools ?? []).entries()) {
    const param = `tools[${index}]`;
    if (!isObject(tool)) throw invalid(param, "a tool", tool);
    const type = requiredString(tool.type, `${param}.type`);
    if (type !== "function") {
      if (types.has(type)) continue;
      types.add(type);
      read.ignored.push({
        param,
        message: `tools of type ${JSON.stringify(type)} have no backend here and are ignored`,
      });
      continue;
    }
    const declared = readFunction(tool, param);
    if (names.has(declared.name)) throw invalid(`${param}.name`, "a name used once", declared.name);
    names.add(declared.name);
    read.functions.push(declared);
    read.declared.push(tool);
  }
  return read;
}

function readFunction(tool: Record<string, unknown>, param: string): DeclaredFunction {
  const { name, parameters = null, strict = null } = tool;
  if (typeof name !== "string" || !functionName.test(name)) {
    throw invalid(`${param}.name`, "1 to 64 letters, digits, '_', '.' or '-'", name);
  }
  if (parameters !== null && !isObject(parameters)) {
    throw invalid(`${param}.parameters`, "a JSON schema object or null", parameters);
  }
  if (strict !== null && typeof strict !== "boolean") throw invalid(`${param}.strict`, "a boolean or null", strict);
  const description = optionalString(tool.description, `${param}.description`);
  return { name, description, parameters: parameters && own(parameters), strict, at: `${param}.parameters` };
}

/** @throws ApiError that names the field */
export function readToolChoice(choice: unknown, functions: readonly DeclaredFunction[]): ToolChoice {
  const none = functions.length === 0;
  if (choice === undefined || choice === null || choice === "auto") return { type: none ? "none" : "auto" };
  if (choice === "none") return { type: "none" };
  if (choice === "required") {
    if (none) throw unsupported("tool_choice", "'tool_choice' is 'required' but 'tools' declares no function.");
    return { type: "required" };
  }
  if (!isObject(choice)) throw invalid("tool_choice", "none, auto, required or a tool", choice);
  if (choice.type === "allowed_tools") return readAllowed(choice, functions);
  return { type: "required", names: [chosenName(choice, "tool_choice", functions)] };
}

function readAllowed(choice: Record<string, unknown>, functions: readonly DeclaredFunction[]): ToolChoice {
  const { mode, tools } = choice;
  if (mode !== "auto" && mode !== "required") throw invalid("tool_choice.mode", "auto or required", mode);
  if (!Array.isArray(tools) || tools.length === 0) throw invalid("tool_choice.tools", "an array of tools", tools);
  if (tools.length > mostTools) throw invalid("tool_choice.tools", `at most ${mostTools} tools`, tools);
  const names = tools.map((tool, index) => chosenName(tool, `tool_choice.tools[${index}]`, functions));
  return { type: mode, names };
}

function chosenName(tool: unknown, param: string, functions: readonly DeclaredFunction[]): string {
  if (!isObject(tool)) throw invalid(param, "a tool", tool);
  const type = requiredString(tool.type, `${param}.type`);
  if (type !== "function") {
    throw unsupported(`${param}.type`, `Tools of type '${type}' are not available on this server.`);
  }
  const name = requiredString(tool.name, `${param}.name`);
  if (functions.some((known) => known.name === name)) return name;
  throw new ApiError(400, `Function '${name}' is not among 'tools'.`, {
    param: `${param}.name`,
    code: "invalid_value",
  });
}
