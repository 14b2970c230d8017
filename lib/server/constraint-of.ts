import type { Constraint, HarmonyConstraint, OutputFormat } from "../constraint.js";
import type { DeclaredFunction, TurnRequest } from "./turn.js";

type Parameters = Record<string, unknown> | null;

/** What the request asks of the tokens of its answer: harmony messages at least, so that no header can be malformed. */
export function constraintOf(request: TurnRequest): Constraint {
  return constraintWith(request, ({ parameters }) => parameters ?? null);
}

/**
 * The same for when a schema has what the engine does not support: functions that are not declared strict take any JSON
 * object. Null: there are none such.
 */
export function relaxedConstraintOf(request: TurnRequest): Constraint | null {
  if (!request.tools.some(({ strict, parameters }) => !strict && parameters)) return null;
  return constraintWith(request, ({ strict, parameters }) => (strict ? (parameters ?? null) : null));
}

function constraintWith(request: TurnRequest, parametersOf: (tool: DeclaredFunction) => Parameters): Constraint {
  const { toolChoice, format, analysisTokens } = request;
  const isCalling = toolChoice.type !== "none" && request.tools.length > 0;
  const constraint: HarmonyConstraint = { kind: "harmony", toolChoice: isCalling ? toolChoice.type : "none" };
  if (isCalling) {
    constraint.tools = request.tools.map((tool) => ({ name: tool.name, parameters: parametersOf(tool) }));
    if (toolChoice.names !== undefined) constraint.names = toolChoice.names;
  }
  if (format !== null) constraint.final = outputFormat(format);
  if (analysisTokens !== undefined) constraint.analysisTokens = analysisTokens;
  return constraint;
}

/** Without name and description, which are for the prompt. */
function outputFormat(format: OutputFormat): OutputFormat {
  switch (format.type) {
    case "json_schema":
      return { type: "json_schema", schema: format.schema };
    case "json_object":
      return { type: "json_object" };
    case "regex":
      return { type: "regex", pattern: format.pattern };
    case "choice":
      return { type: "choice", choices: format.choices };
  }
}
