import { GptOssError, invalidArgument } from "../errors.js";
import type { Constraint, HarmonyConstraint, OutputFormat } from "../generation/constraint.js";
import type { DeclaredTools } from "./declared-tools.js";

/** The constraint of a turn of the assistant, for the library's chat and for the endpoints of the server. */

/** "auto": may call. "required": must call one of `names` (absent: of all). "allowed": may call one of `names`. */
export type ToolChoice =
  | { type: "none" }
  | { type: "auto"; names?: readonly string[] }
  | { type: "required"; names?: readonly string[] };

export interface HeldTurn {
  toolChoice: ToolChoice;
  /** The format of the final message. Null: any text. */
  format: (OutputFormat & { strict?: boolean | null }) | null;
  /** The number of analysis tokens after which the channel is closed. 0: no analysis. Absent: no limit. */
  analysisTokens?: number | undefined;
  /** The caller's own constraint. It replaces all other fields. */
  constraint?: Constraint | undefined;
}

/**
 * Returns the constraint of a turn. Undefined: none. A model with the harmony tokens always gets one, so that no header
 * can be malformed. Calls of built-in tools are the only part that a constraint does not support.
 *
 * @throws GptOssError INVALID_ARGUMENT for a choice that the declared tools do not allow, UNSUPPORTED for a format
 *   together with built-in tools that may be called
 */
export function turnConstraint(
  { toolChoice, format, analysisTokens, constraint }: HeldTurn,
  { functions, others }: DeclaredTools,
  knowsHarmony: boolean,
): Constraint | undefined {
  if (constraint !== undefined) return constraint;
  if (toolChoice.type === "required" && functions.length === 0) {
    const message = "toolChoice asks for a call, and no function is declared";
    throw new GptOssError("INVALID_ARGUMENT", message, { field: "toolChoice" });
  }
  for (const name of toolChoice.type === "required" ? (toolChoice.names ?? []) : []) {
    if (functions.some((tool) => tool.name === name)) continue;
    throw invalidArgument("toolChoice.function.name", "the name of a declared function", name);
  }
  const isHeld = toolChoice.type === "required" || format !== null || analysisTokens !== undefined;
  if (toolChoice.type === "auto" && others.length > 0) {
    if (!isHeld) return undefined;
    throw new GptOssError(
      "UNSUPPORTED",
      `responseFormat and reasoningBudget know calls of functions only, and the conversation declares ${others.join(", ")}: say toolChoice "none" or "required"`,
      { field: format === null ? "reasoningBudget" : "responseFormat" },
    );
  }
  if (!knowsHarmony && !isHeld) return undefined;
  return harmonyConstraint({ toolChoice, format, analysisTokens }, functions);
}

/** Each schema that cannot be compiled is relaxed separately. A strict one refuses the request. */
function harmonyConstraint(
  { toolChoice, format, analysisTokens }: HeldTurn,
  tools: DeclaredTools["functions"],
): HarmonyConstraint {
  const isCalling = toolChoice.type !== "none" && tools.length > 0;
  const constraint: HarmonyConstraint = { kind: "harmony", toolChoice: isCalling ? toolChoice.type : "none" };
  if (isCalling) {
    constraint.tools = tools.map(({ name, parameters, strict }) => {
      return { name, parameters, unsupported: unsupportedOf(strict) };
    });
    if (toolChoice.names !== undefined) constraint.names = toolChoice.names;
  }
  if (format !== null) constraint.final = outputFormat(format);
  if (analysisTokens !== undefined) constraint.analysisTokens = analysisTokens;
  return constraint;
}

/** Removes the name and the description, which only the prompt needs. */
export function outputFormat(format: OutputFormat & { strict?: boolean | null }): OutputFormat {
  switch (format.type) {
    case "json_schema":
      return { type: "json_schema", schema: format.schema, unsupported: unsupportedOf(format.strict) };
    case "json_object":
      return { type: "json_object" };
    case "regex":
      return { type: "regex", pattern: format.pattern };
    case "choice":
      return { type: "choice", choices: format.choices };
  }
}

/** Strict: the schema is enforced or the request is refused. Otherwise the schema is enforced as far as possible. */
function unsupportedOf(strict: boolean | null | undefined): "refuse" | "relax" {
  return strict === true ? "refuse" : "relax";
}
