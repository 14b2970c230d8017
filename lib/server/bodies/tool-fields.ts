import type { ToolChoice } from "../../chat/turn-constraint.js";
import { own } from "../../common/given-values.js";
import { badRequest, unsupported } from "../http/error-response.js";
import type { DeclaredFunction } from "../turn/turn.js";
import { isObject } from "./fields.js";

/** `tools` and `tool_choice` of the Chat Completions API. */

/** Of one request, those of unknown types included: as many as a constraint takes. */
export const mostTools = 1024;

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

function readTool({ type, function: declared, strict: beside }: Fields, at: string): DeclaredFunction {
  if (type !== "function") {
    const message = `${at}.type is ${JSON.stringify(type)}: only "function" is supported`;
    throw badRequest(`${at}.type`, message, unsupported);
  }
  if (!isObject(declared)) throw badRequest(`${at}.function`, `${at}.function must be an object`);
  const { name, description, parameters, strict = beside } = declared;
  checkName(name, `${at}.function.name`);
  if (description !== undefined && description !== null && typeof description !== "string") {
    throw badRequest(`${at}.function.description`, `${at}.function.description must be a string`);
  }
  if (parameters !== undefined && parameters !== null && !isObject(parameters)) {
    throw badRequest(`${at}.function.parameters`, `${at}.function.parameters must be a JSON schema object`);
  }
  if (strict !== undefined && strict !== null && typeof strict !== "boolean") {
    throw badRequest(`${at}.function.strict`, `${at}.function.strict must be true or false`);
  }
  return {
    name,
    description: description ?? null,
    parameters: parameters ? own(parameters) : null,
    strict: strict === true,
    at: `${at}.function.parameters`,
  };
}

function checkName(name: unknown, at: string): asserts name is string {
  if (typeof name === "string" && /^[a-zA-Z0-9_.-]{1,64}$/.test(name)) return;
  throw badRequest(at, `${at} must be 1 to 64 letters, digits, "_", "-" or "."`);
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
  const isNested = isObject(choice.allowed_tools);
  const at = isNested ? "tool_choice.allowed_tools" : "tool_choice";
  const { mode = "auto", tools: listed } = isNested ? (choice.allowed_tools as Fields) : choice;
  if (!Array.isArray(listed) || listed.length === 0) {
    throw badRequest(`${at}.tools`, `${at}.tools must list at least one function`);
  }
  if (listed.length > mostTools) throw badRequest(`${at}.tools`, `${at}.tools can list at most ${mostTools} functions`);
  const names = listed.map((tool: unknown, index) => nameOf((tool ?? {}) as Fields, `${at}.tools[${index}]`));
  if (mode === "required") return required(names, tools);
  if (mode !== "auto") throw badRequest(`${at}.mode`, `${at}.mode must be "auto" or "required"`);
  return { type: "auto", names: declared(names, tools) };
}

/** A function that a choice names, and where. */
type Named = { name: string; at: string };

function required(names: readonly Named[] | undefined, tools: readonly DeclaredFunction[]): ToolChoice {
  if (tools.length === 0) throw badRequest("tool_choice", "tool_choice asks for a call, and there are no tools");
  return { type: "required", ...(names !== undefined && { names: declared(names, tools) }) };
}

function declared(names: readonly Named[], tools: readonly DeclaredFunction[]): string[] {
  return names.map(({ name, at }) => {
    if (tools.some((tool) => tool.name === name)) return name;
    throw badRequest(at, `${at} is ${JSON.stringify(name)}, which is not among tools`);
  });
}

/** Some clients write the name beside the type, too. */
function nameOf({ function: named, name: beside }: Fields, place: string): Named {
  const isNested = isObject(named) || typeof beside !== "string";
  const name = isObject(named) ? named.name : beside;
  const at = isNested ? `${place}.function.name` : `${place}.name`;
  if (typeof name !== "string") throw badRequest(at, `${at} must be a string`);
  return { name, at };
}
