import type { Constraint, HarmonyConstraint, OutputFormat } from "../constraint.js";
import type { AskedFormat, DeclaredFunction, TurnRequest } from "./turn.js";

/** What the request asks of the tokens of its answer: harmony messages at least, so that no header can be malformed. */
export function constraintOf(request: TurnRequest): Constraint {
  const { toolChoice, format, analysisTokens } = request;
  const isCalling = toolChoice.type !== "none" && request.tools.length > 0;
  const constraint: HarmonyConstraint = { kind: "harmony", toolChoice: isCalling ? toolChoice.type : "none" };
  if (isCalling) {
    constraint.tools = request.tools.map(({ name, parameters = null, strict }) => {
      return { name, parameters, unsupported: unsupportedOf(strict) };
    });
    if (toolChoice.names !== undefined) constraint.names = toolChoice.names;
  }
  if (format !== null) constraint.final = outputFormat(format);
  if (analysisTokens !== undefined) constraint.analysisTokens = analysisTokens;
  return constraint;
}

/** Without what is for the prompt. */
export function outputFormat(format: AskedFormat): OutputFormat {
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
function unsupportedOf(strict: DeclaredFunction["strict"]): "refuse" | "relax" {
  return strict === true ? "refuse" : "relax";
}
