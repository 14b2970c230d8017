import type { ToolChoice } from "../../chat/turn-constraint.js";
import { own } from "../../common/given-values.js";
import { badRequest } from "../http/error-response.js";
import { type ClientTool, clientToolOf, modelName } from "../turn/client-tool.js";
import type { DeclaredFunction } from "../turn/turn.js";
import { CustomTools } from "./custom-tool.js";
import { isObject } from "./fields.js";
import { invalid, optionalString, requiredString, unsupported } from "./refusals.js";

/** `tools` and `tool_choice` of chat completions and responses. */

/** Maximum number of tools in one request, unknown types included: the same limit as in a constraint. */
export const mostTools = 1024;

/** Where an API puts the description of a tool: in a member named as its type, or beside the type. */
export type Spelling = "nested" | "flat";

type Fields = Readonly<Record<string, unknown>>;

/**
 * The tools that the client runs, as functions for the model: functions, custom tools, and in the flat spelling those
 * in namespaces.
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
  const reader = new ToolReader(spelling, onOther);
  for (const [index, tool] of (tools ?? []).entries()) reader.read(tool, `${field}[${index}]`, null);
  return reader.functions;
}

class ToolReader {
  readonly functions: DeclaredFunction[] = [];
  readonly #names = new Set<string>();
  readonly #custom = new CustomTools();
  readonly #spelling: Spelling;
  readonly #onOther: (type: string, at: string) => void;

  constructor(spelling: Spelling, onOther: (type: string, at: string) => void) {
    this.#spelling = spelling;
    this.#onOther = onOther;
  }

  /** @param namespace the namespace that the tool stands in */
  read(tool: unknown, at: string, namespace: string | null): void {
    if (!isObject(tool)) throw invalid(at, "a tool", tool);
    const type = requiredString(tool.type, `${at}.type`);
    if (type === "function" || type === "custom") {
      const place = this.#spelling === "nested" ? `${at}.${type}` : at;
      const declared = this.#spelling === "nested" ? nested(tool, type, place) : tool;
      const name = checkedName(declared.name, `${place}.name`);
      const read = type === "custom" ? this.#custom.read(declared, name, place) : readFunction(declared, name, place);
      this.#add(inNamespace(read, namespace), `${place}.name`);
    } else if (type === "namespace" && this.#spelling === "flat" && namespace === null) {
      this.#readNamespace(tool, at);
    } else if (type === "namespace" && namespace !== null) {
      throw invalid(`${at}.type`, "function or custom, because a namespace holds no other namespace,", type);
    } else {
      this.#onOther(type, at);
    }
  }

  #readNamespace({ name, description, tools }: Fields, at: string): void {
    const namespace = checkedName(name, `${at}.name`);
    const purpose = optionalString(description, `${at}.description`);
    if (!Array.isArray(tools)) throw invalid(`${at}.tools`, "an array of tools", tools);
    const first = this.functions.length;
    for (const [index, tool] of tools.entries()) this.read(tool, `${at}.tools[${index}]`, namespace);
    const begun = this.functions[first];
    // The functions of a namespace stand together, so its description stands before the first of them.
    if (begun === undefined || !purpose) return;
    const about = `${modelName(namespace, "*")}: ${purpose}`;
    this.functions[first] = { ...begun, description: begun.description ? `${about}\n\n${begun.description}` : about };
  }

  #add(declared: DeclaredFunction, nameAt: string): void {
    if (this.#names.has(declared.name)) throw invalid(nameAt, "a name used once", declared.name);
    if (this.functions.length === mostTools) throw invalid(nameAt, `at most ${mostTools} tools`, declared.name);
    this.#names.add(declared.name);
    this.functions.push(declared);
  }
}

/** Accepts `strict` beside the function, where some clients write it. */
function nested({ strict, ...tool }: Fields, type: string, at: string): Fields {
  const declared = tool[type];
  if (!isObject(declared)) throw invalid(at, "an object", declared);
  return { strict, ...declared };
}

function checkedName(name: unknown, at: string): string {
  if (typeof name === "string" && /^[a-zA-Z0-9_.-]{1,64}$/.test(name)) return name;
  throw invalid(at, "1 to 64 letters, digits, '_', '.' or '-'", name);
}

function inNamespace(declared: DeclaredFunction, namespace: string | null): DeclaredFunction {
  if (namespace === null) return declared;
  const client = { ...clientToolOf(declared), namespace };
  return { ...declared, name: modelName(namespace, declared.name), client };
}

function readFunction(
  { description, parameters = null, strict = null }: Fields,
  name: string,
  at: string,
): DeclaredFunction {
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
  if (!Array.isArray(tools)) throw invalid(`${at}.tools`, "an array of tools", tools);
  if (tools.length === 0) throw badRequest(`${at}.tools`, `'${at}.tools' is empty: name at least one tool.`);
  if (tools.length > mostTools) throw invalid(`${at}.tools`, `at most ${mostTools} tools`, tools);
  return { type: mode, names: tools.map((tool, index) => nameOf(tool, `${at}.tools[${index}]`)) };
}

/** Returns the model's name of the tool that a choice names. */
function readName(tool: unknown, at: string, tools: readonly DeclaredFunction[], spelling: Spelling): string {
  if (!isObject(tool)) throw invalid(at, "a tool", tool);
  const { type = "function", name: beside } = tool;
  if (type !== "function" && type !== "custom") {
    const kind = JSON.stringify(requiredString(type, `${at}.type`));
    throw unsupported(`${at}.type`, `Tools of type ${kind} cannot be chosen on this server.`);
  }
  const named = tool[type];
  const isNested = isObject(named) || (typeof beside !== "string" && spelling === "nested");
  const place = isNested ? `${at}.${type}.name` : `${at}.name`;
  const name = requiredString(isObject(named) ? named.name : beside, place);
  const namespace = optionalString(tool.namespace, `${at}.namespace`);
  const chosen = tools.find((known) => isNamed(clientToolOf(known), { type, name, namespace }));
  if (chosen !== undefined) return chosen.name;
  const kind = type === "function" ? "a function" : "a custom tool";
  throw invalid(place, `the name of ${kind} in 'tools'`, name);
}

/** The agents SDK writes a namespace before the name, with a dot between. */
function isNamed(tool: ClientTool, { type, name, namespace }: ClientTool): boolean {
  if (tool.type !== type) return false;
  if (namespace !== null || tool.namespace === null) return tool.name === name && tool.namespace === namespace;
  return `${tool.namespace}.${tool.name}` === name;
}
