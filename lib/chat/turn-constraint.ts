import type { HarmonyConstraint, OutputFormat } from "../generation/constraint.js";

/** What a turn of the assistant is held to, whoever asked for it: the library's chat or an endpoint of the server. */

/** "auto": may call; "required": must call one of `names` (absent: of all), "allowed": may call one of `names`. */
export type ToolChoice =
  | { type: "none" }
  | { type: "auto"; names?: readonly string[] }
  | { type: "required"; names?: readonly string[] };

export interface HeldTurn {
  /** `parameters`: JSON schema of the arguments; null or absent: any. */
  tools: readonly { name: string; parameters?: Record<string, unknown> | null; strict?: boolean | null }[];
  toolChoice: ToolChoice;
  /** Of the final message; null: any text. */
  format: (OutputFormat & { strict?: boolean | null }) | null;
  /** Tokens of analysis after which the channel is closed; 0: no analysis at all; absent: as the model likes. */
  analysisTokens?: number | undefined;
}

/**
 * Harmony messages at least, so that no header can be malformed. A schema that is not declared strict and cannot be
 * compiled is relaxed by itself; a strict one refuses the request.
 */
export function turnConstraint({ tools, toolChoice, format, analysisTokens }: HeldTurn): HarmonyConstraint {
  const isCalling = toolChoice.type !== "none" && tools.length > 0;
  const constraint: HarmonyConstraint = { kind: "harmony", toolChoice: isCalling ? toolChoice.type : "none" };
  if (isCalling) {
    constraint.tools = tools.map(({ name, parameters = null, strict }) => {
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
