import type { ToolChoice } from "../../chat/turn-constraint.js";
import { own } from "../../common/given-values.js";
import type { DeclaredFunction } from "../turn/turn.js";
import { isObject } from "./fields.js";
import { invalid, optionalString, requiredString, unsupported } from "./refusals.js";

/** `tools` and `tool_choice` of chat completions and responses. */

/** Maximum number of tools in one request, unknown types included: the same limit as in a constraint. */
export const mostTools = 1024;

/** Where an API puts the description of a function: in a member `function`, or beside the type. */
export type Spelling = "nested" | "flat";

type Fields = Readonly<Record<string, unknown>>;

/**
 * The functions among the tools.
 *
 * @param onOther called for each tool of another type, with its place in the request
 * @param field the field of the request that has the tools
 * @throws ApiError that names the field
 */
export function readTools(
  tools: readonly unknown[] | null | undefined,
  spelling: Spelling,
  onOther: (type: string, at: string) => void,
  field = "tools",
): DeclaredFunction[] {
  const functions: DeclaredFunction[] = [];
  const names = new Set<string>();
  for (const [index, tool] of (tools ?? []).entries()) {
    const at = `${field}[${index}]`;
    if (!isObject(tool)) throw invalid(at, "a tool", tool);
    const type = requiredString(tool.type, `${at}.type`);
    if (type !== "function") {
      onOther(type, at);
      continue;
    }
    const place = spelling === "nested" ? `${at}.function` : at;
    const declared = readFunction(spelling === "nested" ? nested(tool, place) : tool, place);
    if (names.has(declared.name)) throw invalid(`${place}.name`, "a name used once", declared.name);
    names.add(declared.name);
    functions.push(declared);
  }
  return functions;
}

/** Accepts `strict` beside the function, where some clients write it. */
function nested({ function: declared, strict }: Fields, at: string): Fields {
  if (!isObject(declared)) throw invalid(at, "an object", declared);
  return { strict, ...declared };
}

function readFunction({ name, description, parameters = null, strict = null }: Fields, at: string): DeclaredFunction {
  if (typeof name !== "string" || !/^[a-zA-Z0-9_.-]{1,64}$/.test(name)) {
    throw invalid(`${at}.name`, "1 to 64 letters, digits, '_', '.' or '-'", name);
  }
  if (parameters !== null && !isObject(parameters)) {
    throw invalid(`${at}.parameters`, "a JSON schema object or null", parameters);
  }
  if (strict !== null && typeof strict !== "boolean") throw invalid(`${at}.strict`, "a boolean or null", strict);
  return {
    name,
    description: optionalString(description, `${at}.description`),
    parameters: parameters && own(parameters),
    strict: strict === true,
    at: `${at}.parameters`,
  };
}

/**
 * Accepts both spellings for either API: clients mix them.
 *
 * @throws ApiError for an unknown choice, or one that names a function which is not declared
 */
export function readToolChoice(choice: unknown, tools: readonly DeclaredFunction[], spelling: Spelling): ToolChoice {
  if (choice === undefined || choice === null || choice === "auto") return { type: tools.length > 0 ? "auto" : "none" };
  if (choice === "none") return { type: "none" };
  if (choice === "required") {
    if (tools.length > 0) return { type: "required" };
    throw invalid("tool_choice", "none or auto, because 'tools' declares no function,", choice);
  }
  if (!isObject(choice)) throw invalid("tool_choice", "none, auto, required, a function or allowed_tools", choice);
  const nameOf = (tool: unknown, at: string) => readName(tool, at, tools, spelling);
  if (requiredString(choice.type, "tool_choice.type") === "allowed_tools") return readAllowed(choice, nameOf);
  return { type: "required", names: [nameOf(choice, "tool_choice")] };
}

/** Some clients write the list beside the type; others write it in an object of that name. */
function readAllowed(choice: Fields, nameOf: (tool: unknown, at: string) => string): ToolChoice {
  const isNested = isObject(choice.allowed_tools);
  const at = isNested ? "tool_choice.allowed_tools" : "tool_choice";
  const { mode = "auto", tools } = isNested ? (choice.allowed_tools as Fields) : choice;
  if (mode !== "auto" && mode !== "required") throw invalid(`${at}.mode`, "auto or required", mode);
  if (!Array.isArray(tools) || tools.length === 0) throw invalid(`${at}.tools`, "an array of tools", tools);
  if (tools.length > mostTools) throw invalid(`${at}.tools`, `at most ${mostTools} tools`, tools);
  return { type: mode, names: tools.map((tool, index) => nameOf(tool, `${at}.tools[${index}]`)) };
}

/** Returns the name of the declared function that a choice names. */
function readName(tool: unknown, at: string, tools: readonly DeclaredFunction[], spelling: Spelling): string {
  if (!isObject(tool)) throw invalid(at, "a tool", tool);
  const { type = "function", function: named, name: beside } = tool;
  if (requiredString(type, `${at}.type`) !== "function") {
    throw unsupported(`${at}.type`, `Tools of type ${JSON.stringify(type)} cannot be chosen on this server.`);
  }
  const isNested = isObject(named) || (typeof beside !== "string" && spelling === "nested");
  const place = isNested ? `${at}.function.name` : `${at}.name`;
  const name = requiredString(isObject(named) ? named.name : beside, place);
  if (!tools.some((known) => known.name === name)) throw invalid(place, "the name of a function in 'tools'", name);
  return name;
}
