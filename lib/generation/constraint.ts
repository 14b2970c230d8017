import { toUSVString } from "node:util";
import { jsonText } from "../common/exact-json.js";
import { reading } from "../common/given-values.js";
import { refuseUnknown } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { checkToolName } from "../harmony/tools.js";
import { checkInteger } from "./options.js";

/**
 * The required form of a text. Formats are byte-exact: the text is UTF-8 and has nothing before or after the format.
 * `native/grammar/schema.h` and `regex.h` list the supported JSON schemas and regular expressions. All others are
 * refused with the name of the unsupported part. Only `maxTokens` limits the length of patterns and choices. Near this
 * limit, only tokens that can still reach an end in time are allowed. Where the model would have written another token,
 * the finish reason is "length".
 */
export type OutputFormat =
  /**
   * A value of this JSON schema. Unknown keywords are ignored. Properties are written in the order of their
   * declaration, and optional ones may be left out. Few blanks are allowed. Bounds and listed values may be bigints. A
   * schema with an unsupported keyword, or one that is too large to compile, is refused by name. With "relax" it
   * becomes any object if its root says `type: "object"`, else any value.
   */
  | { type: "json_schema"; schema: Record<string, unknown> | boolean; unsupported?: Unsupported }
  | { type: "json_object" }
  /** The whole text, anchored at both ends. */
  | { type: "regex"; pattern: string }
  | { type: "choice"; choices: readonly string[] };

/**
 * The handling of a schema that cannot be compiled. "refuse" (the default) refuses the request. "relax" drops this
 * schema alone, and `Generation.accepted` lists it.
 */
export type Unsupported = "refuse" | "relax";

/**
 * The required form of an assistant's turn, from `<|start|>assistant` on: well-formed harmony messages, each
 * `analysis`, `commentary` or `final`, until `<|return|>` or `<|call|>`. Messages before the last one are not empty. It
 * needs a model with the full vocabulary (else UNSUPPORTED).
 *
 * With `final` or `toolChoice: "required"`, the turn ends in time, as an `OutputFormat` does. Any other turn promises
 * nothing that `maxTokens` could break, so the limit cuts it anywhere, also within a call.
 */
export interface HarmonyConstraint {
  /** The whole turn of an assistant. */
  kind: "harmony";
  /**
   * The declared functions. Their arguments are values of `parameters` (null: any JSON object). With "relax",
   * parameters that cannot be compiled become any JSON object, and all other tools keep their schemas.
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
   * "none": no recipient. "auto" (default): a call to any tool, or a final message. "required": a call, to one of
   * `names` if given, after any number of analysis messages, without a final message.
   */
  toolChoice?: "none" | "auto" | "required";
  /** The tools that may be called. Absent: all. */
  names?: readonly string[];
  /** Format of the body of the final message. No other visible text precedes this message. Absent: any text. */
  final?: OutputFormat;
  /**
   * The number of analysis tokens in the whole turn, after which the message is closed. 0: no analysis. Absent: no
   * limit.
   */
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
 * The required form of a completion.
 * @example
 * ```ts
 * engine.generate("A date: ", { constraint: { kind: "text", format: { type: "regex", pattern:
 * "\\d{4}-\\d{2}-\\d{2}" } } });
 * ```
 */
export type Constraint = HarmonyConstraint | TextConstraint;

/** The same limits as in the addon. */
const limits = { tools: 1024, choices: 65_536, analysisTokens: 2 ** 31 - 1 };

/**
 * Returns a constraint as JSON text for the addon, with shape and types checked. Schemas are strings within it, so that
 * each can be refused separately.
 *
 * @param constraint as `readOptions` gives it
 * @throws GptOssError INVALID_ARGUMENT for an invalid constraint. The addon reports unsupported schemas and patterns
 * when
 *   it compiles them.
 */
export function constraintText(constraint: Constraint): string {
  return reading("constraint", () => {
    const { kind } = checkObject("constraint", constraint);
    if (kind !== "harmony" && kind !== "text") throw invalidArgument("constraint.kind", '"harmony" or "text"', kind);
    const checked =
      kind === "text" ? checkText(constraint as TextConstraint) : checkHarmony(constraint as HarmonyConstraint);
    return JSON.stringify(checked); // only checked values, and schemas that are already text
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

/** Lone surrogates have no UTF-8 form. */
function checkWellFormed(name: string, value: unknown): void {
  if (typeof value !== "string" || toUSVString(value) !== value) throw invalidArgument(name, "well-formed text", value);
}
