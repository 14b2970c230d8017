import type { TurnRequest } from "../turn/turn.js";

/** The efforts of OpenAI's API. Every endpoint accepts all of them. */
export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

export type AskedEffort = (typeof efforts)[number];

/**
 * The model knows three efforts. "none" means the lowest one, with the analysis channel closed.
 *
 * @param most the most tokens of reasoning, which OpenRouter calls `reasoning.max_tokens`
 */
export function readEffort(
  asked: AskedEffort | null | undefined,
  most: number | null | undefined,
): Pick<TurnRequest, "effort" | "analysisTokens"> {
  if (asked === "none") return { effort: "low", analysisTokens: 0 };
  return { effort: effortOf(asked), ...(typeof most === "number" && { analysisTokens: most }) };
}

function effortOf(asked: AskedEffort | null | undefined): TurnRequest["effort"] {
  switch (asked) {
    case "minimal":
    case "low":
      return "low";
    case "high":
    case "xhigh":
    case "max":
      return "high";
    default:
      return "medium";
  }
}
