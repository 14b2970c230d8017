import { GptOssError, invalidArgument } from "../errors.js";
import type { Constraint, HarmonyConstraint, OutputFormat } from "../generation/constraint.js";
import type { DeclaredTools } from "./declared-tools.js";

/** What a turn of the assistant is held to, whoever asked for it: the library's chat or an endpoint of the server. */

/** "auto": may call; "required": must call one of `names` (absent: of all), "allowed": may call one of `names`. */
export type ToolChoice =
  | { type: "none" }
  | { type: "auto"; names?: readonly string[] }
  | { type: "required"; names?: readonly string[] };

export interface HeldTurn {
  toolChoice: ToolChoice;
  /** Of the final message; null: any text. */
  format: (OutputFormat & { strict?: boolean | null }) | null;
  /** Tokens of analysis after which the channel is closed; 0: no analysis at all; absent: as the model likes. */
  analysisTokens?: number | undefined;
  /** The caller's own, in place of all that. */
  constraint?: Constraint | undefined;
}

/**
 * The constraint of a turn; undefined: none. A model that knows the harmony format always writes it, so that no header
 * can be malformed. Calls of built-in tools are the one thing that a constraint does not know.
 *
 * @throws GptOssError INVALID_ARGUMENT for a choice that the declared tools do not allow, UNSUPPORTED for a format
 *   beside built-in tools that may be called
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

/** A schema that cannot be compiled is relaxed by itself; one that is declared strict refuses the request. */
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

/** Without name and description, which are for the prompt. */
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

/** What is strict is held to its schema or refused; what is not is held to it as far as that is possible. */
function unsupportedOf(strict: boolean | null | undefined): "refuse" | "relax" {
  return strict === true ? "refuse" : "relax";
}
