import { toUSVString } from "node:util";
import { jsonText } from "../common/exact-json.js";
import { reading } from "../common/given-values.js";
import { refuseUnknown } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { checkToolName } from "../harmony/tools.js";
import { checkInteger } from "./options.js";

/**
 * What a text must be. Formats are byte-exact: a text is UTF-8, ends where the format ends, and has nothing before or
 * after. `native/grammar/schema.h` and `regex.h` say what of JSON schema and of regular expressions is supported; the rest
 * is refused by name. Patterns and choices have no limit of their own on length: `maxTokens` bounds them, and as it comes
 * near, only tokens remain that still lead to an end in time.
 */
export type OutputFormat =
  /**
   * A value of this JSON schema; what is no keyword of JSON schema says nothing. Properties are written in the order of
   * their declaration, optional ones may be left out; blanks are few. Bounds and listed values may be bigints. A schema
   * with a keyword that is not supported, or that is too large to compile, is refused by name; with "relax" it becomes any
   * object if its root says `type: "object"`, else any value.
   */
  | { type: "json_schema"; schema: Record<string, unknown> | boolean; unsupported?: Unsupported }
  | { type: "json_object" }
  /** The whole text, anchored at both ends. */
  | { type: "regex"; pattern: string }
  | { type: "choice"; choices: readonly string[] };

/**
 * What becomes of a schema that cannot be compiled: it refuses the request (the default), or it alone is given up, and
 * `Generation.accepted` tells so.
 */
export type Unsupported = "refuse" | "relax";

/**
 * What an assistant's turn must be, from `<|start|>assistant` on: well-formed harmony messages, each `analysis`,
 * `commentary` or `final`, until `<|return|>` or `<|call|>`. Messages before the last one are not empty. It needs a model
 * with the full vocabulary (else UNSUPPORTED).
 */
export interface HarmonyConstraint {
  /** The whole turn of an assistant. */
  kind: "harmony";
  /**
   * The declared functions; arguments are values of `parameters` (null: any JSON object). With "relax", parameters that
   * cannot be compiled become any JSON object, and all other tools keep theirs.
   */
  tools?: readonly {
    /** Name of the function, without a namespace. */
    name: string;
    /** JSON schema of its arguments. */
    parameters?: Record<string, unknown> | null;
    /** Default "refuse". */
    unsupported?: Unsupported;
  }[];
  /**
   * "none": no recipient at all. "auto" (default): a call to any tool, or a final message. "required": a call, to one
   * of `names` if given, after any number of analysis messages; no final message.
   */
  toolChoice?: "none" | "auto" | "required";
  /** The tools that may be called; absent: all. */
  names?: readonly string[];
  /** Format of the body of the final message, before which no other text is shown; absent: any text. */
  final?: OutputFormat;
  /** Tokens of analysis text in the whole turn, after which the message is closed; 0: no analysis. Absent: no limit. */
  analysisTokens?: number;
}

/** The whole completion is a text of this format, followed by a stop token. */
export interface TextConstraint {
  /** A plain text. */
  kind: "text";
  /** Its format. */
  format: OutputFormat;
}

/**
 * What a completion must be.
 * @example
 * ```ts
 * engine.generate("A date: ", { constraint: { kind: "text", format: { type: "regex", pattern:
 * "\\d{4}-\\d{2}-\\d{2}" } } });
 * ```
 */
export type Constraint = HarmonyConstraint | TextConstraint;

/** What the addon takes too. */
const limits = { tools: 1024, choices: 65_536, analysisTokens: 2 ** 31 - 1 };

/**
 * A constraint as the addon reads it: shape and types checked, as JSON text; schemas are texts within it, so that each can
 * be refused by itself.
 *
 * @param constraint as `readOptions` gives it
 * @throws GptOssError INVALID_ARGUMENT for what is no constraint; whether schemas and patterns are supported is said when
 *   the addon compiles them.
 */
export function constraintText(constraint: Constraint): string {
  return reading("constraint", () => {
    const { kind } = checkObject("constraint", constraint);
    if (kind !== "harmony" && kind !== "text") throw invalidArgument("constraint.kind", '"harmony" or "text"', kind);
    const checked =
      kind === "text" ? checkText(constraint as TextConstraint) : checkHarmony(constraint as HarmonyConstraint);
    return JSON.stringify(checked); // checked values only, and schemas that are text already
  });
}

function checkObject(name: string, value: unknown): Record<string, unknown> {
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw invalidArgument(name, "an object", value);
  return value as Record<string, unknown>;
}

function checkText(constraint: TextConstraint): object {
  refuseUnknown("constraint", constraint, new Set(["kind", "format"]));
  return { kind: "text", format: checkFormat("constraint.format", constraint.format) };
}

function checkHarmony(constraint: HarmonyConstraint): object {
  refuseUnknown("constraint", constraint, new Set(["kind", "tools", "toolChoice", "names", "final", "analysisTokens"]));
  const { tools = [], toolChoice = "auto", names, final, analysisTokens } = constraint;
  if (!["none", "auto", "required"].includes(toolChoice)) {
    throw invalidArgument("constraint.toolChoice", '"none", "auto" or "required"', toolChoice);
  }
  const checkedTools = checkTools(tools);
  const known = new Set(checkedTools.map((tool) => tool.name));
  if (names !== undefined) checkNames(names, known);
  const callable = names === undefined ? known.size : names.length;
  if (toolChoice === "required" && callable === 0) {
    const message = 'constraint.toolChoice is "required" and there is no tool to call';
    throw new GptOssError("INVALID_ARGUMENT", message, { field: "constraint.toolChoice" });
  }
  return {
    kind: "harmony",
    tools: checkedTools,
    toolChoice,
    ...(names !== undefined && { names }),
    ...(final !== undefined && { final: checkFormat("constraint.final", final) }),
    ...(analysisTokens !== undefined && {
      analysisTokens: checkInteger("constraint.analysisTokens", analysisTokens, 0, limits.analysisTokens),
    }),
  };
}

function checkTools(tools: NonNullable<HarmonyConstraint["tools"]>): { name: string; parameters: string | null }[] {
  if (!Array.isArray(tools) || tools.length > limits.tools) {
    throw invalidArgument("constraint.tools", `an array of at most ${limits.tools} tools`, tools);
  }
  const seen = new Set<string>();
  return tools.map((tool: unknown, i) => {
    const name = `constraint.tools[${i}]`;
    const given = checkObject(name, tool);
    refuseUnknown(name, given, new Set(["name", "parameters", "unsupported"]));
    const { parameters = null, unsupported } = given;
    const called = checkToolName(given.name, `${name}.name`);
    if (seen.has(called)) {
      const message = `constraint.tools has two tools named ${JSON.stringify(called)}`;
      throw new GptOssError("INVALID_ARGUMENT", message, { field: `${name}.name` });
    }
    seen.add(called);
    if (parameters !== null) checkObject(`${name}.parameters`, parameters);
    const text = parameters === null ? null : jsonText(`${name}.parameters`, parameters);
    return { name: called, parameters: text, unsupported: checkUnsupported(`${name}.unsupported`, unsupported) };
  });
}

function checkUnsupported(name: string, value: unknown = "refuse"): Unsupported {
  if (value !== "refuse" && value !== "relax") throw invalidArgument(name, '"refuse" or "relax"', value);
  return value;
}

function checkNames(names: readonly string[], known: ReadonlySet<string>): void {
  if (!Array.isArray(names)) throw invalidArgument("constraint.names", "an array of tool names", names);
  for (const [i, name] of (names as unknown[]).entries()) {
    if (typeof name === "string" && known.has(name)) continue;
    const field = `constraint.names[${i}]`;
    throw invalidArgument("an element of constraint.names", "the name of a declared tool", name, field);
  }
}

function checkFormat(name: string, format: OutputFormat): object {
  const { type } = checkObject(name, format);
  switch (format.type) {
    case "json_schema": {
      refuseUnknown(name, format, new Set(["type", "schema", "unsupported"]));
      const { schema, unsupported } = format;
      if (typeof schema !== "boolean") checkObject(`${name}.schema`, schema);
      const text = jsonText(`${name}.schema`, schema);
      return { type, schema: text, unsupported: checkUnsupported(`${name}.unsupported`, unsupported) };
    }
    case "json_object":
      refuseUnknown(name, format, new Set(["type"]));
      return { type };
    case "regex":
      refuseUnknown(name, format, new Set(["type", "pattern"]));
      checkWellFormed(`${name}.pattern`, format.pattern);
      return { type, pattern: format.pattern };
    case "choice": {
      refuseUnknown(name, format, new Set(["type", "choices"]));
      const choices: unknown = format.choices;
      if (!Array.isArray(choices) || choices.length === 0 || choices.length > limits.choices) {
        throw invalidArgument(`${name}.choices`, `an array of 1 to ${limits.choices} texts`, choices);
      }
      for (const [i, choice] of choices.entries()) checkWellFormed(`${name}.choices[${i}]`, choice);
      return { type, choices };
    }
    default:
      throw invalidArgument(`${name}.type`, '"json_schema", "json_object", "regex" or "choice"', type);
  }
}

/** Lone surrogates have no UTF-8. */
function checkWellFormed(name: string, value: unknown): void {
  if (typeof value !== "string" || toUSVString(value) !== value) throw invalidArgument(name, "well-formed text", value);
}
