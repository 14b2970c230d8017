import { badRequest } from "./error-response.js";
import { unsupported } from "./request-fields.js";
import type { DeclaredFunction, ToolChoice } from "./turn.js";

/** `tools` and `tool_choice` of the Chat Completions API. */

type Fields = Readonly<Record<string, unknown>>;

/** @throws ApiError that names the field */
export function readTools(tools: readonly unknown[] | undefined): DeclaredFunction[] {
  const read = (tools ?? []).map((tool, index) => readTool((tool ?? {}) as Fields, `tools[${index}]`));
  const names = new Set<string>();
  for (const [index, { name }] of read.entries()) {
    if (names.has(name)) {
      throw badRequest(`tools[${index}].function.name`, `The function ${JSON.stringify(name)} is declared twice`);
    }
    names.add(name);
  }
  return read;
}

function readTool({ type, function: declared }: Fields, at: string): DeclaredFunction {
  if (type !== "function") {
    const message = `${at}.type is ${JSON.stringify(type)}: only "function" is supported`;
    throw badRequest(`${at}.type`, message, unsupported);
  }
  const { name, description, parameters, strict } = (declared ?? {}) as Fields;
  checkName(name, `${at}.function.name`);
  if (description !== undefined && description !== null && typeof description !== "string") {
    throw badRequest(`${at}.function.description`, `${at}.function.description must be a string`);
  }
  if (parameters !== undefined && parameters !== null && !isObject(parameters)) {
    throw badRequest(`${at}.function.parameters`, `${at}.function.parameters must be a JSON schema object`);
  }
  return { name, description: description ?? null, parameters: parameters ?? null, strict: strict === true };
}

function checkName(name: unknown, at: string): asserts name is string {
  if (typeof name === "string" && /^[a-zA-Z0-9_.-]{1,64}$/.test(name)) return;
  throw badRequest(at, `${at} must be 1 to 64 letters, digits, "_", "-" or "."`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** @throws ApiError for a choice that is not known, or that names a function which is not declared */
export function readToolChoice(choice: unknown, tools: readonly DeclaredFunction[]): ToolChoice {
  if (choice === undefined || choice === "auto") return tools.length > 0 ? { type: "auto" } : { type: "none" };
  if (choice === "none") return { type: "none" };
  if (choice === "required") return required(undefined, tools);
  if (isObject(choice)) {
    if (choice.type === "function") return required([nameOf(choice, "tool_choice")], tools);
    if (choice.type === "allowed_tools") return allowed(choice, tools);
  }
  const known = 'Expected "none", "auto", "required", a function or allowed_tools';
  throw badRequest("tool_choice", `${known} for tool_choice but received ${JSON.stringify(choice)}`);
}

/** Some clients write the list beside the type, others in an object of that name. */
function allowed(choice: Fields, tools: readonly DeclaredFunction[]): ToolChoice {
  const { mode = "auto", tools: listed } = isObject(choice.allowed_tools) ? choice.allowed_tools : choice;
  if (!Array.isArray(listed) || listed.length === 0) {
    throw badRequest("tool_choice.tools", "tool_choice.tools must list at least one function");
  }
  const names = listed.map((tool: unknown, index) => nameOf((tool ?? {}) as Fields, `tool_choice.tools[${index}]`));
  if (mode === "required") return required(names, tools);
  if (mode !== "auto") throw badRequest("tool_choice.mode", 'tool_choice.mode must be "auto" or "required"');
  checkDeclared(names, tools);
  return { type: "auto", names };
}

function required(names: readonly string[] | undefined, tools: readonly DeclaredFunction[]): ToolChoice {
  if (tools.length === 0) throw badRequest("tool_choice", "tool_choice asks for a call, and there are no tools");
  if (names === undefined) return { type: "required" };
  checkDeclared(names, tools);
  return { type: "required", names };
}

function checkDeclared(names: readonly string[], tools: readonly DeclaredFunction[]): void {
  const unknown = names.find((name) => !tools.some((tool) => tool.name === name));
  if (unknown !== undefined) {
    throw badRequest("tool_choice", `tool_choice names ${JSON.stringify(unknown)}, which is not among tools`);
  }
}

function nameOf({ function: named, name }: Fields, at: string): string {
  const given = isObject(named) ? named.name : name;
  if (typeof given !== "string") throw badRequest(`${at}.function.name`, `${at}.function.name must be a string`);
  return given;
}
