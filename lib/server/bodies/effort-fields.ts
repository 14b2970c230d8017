import type { TurnRequest } from "../turn/turn.js";

/** The efforts of OpenAI's API. Every endpoint accepts all of them. */
export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

export type AskedEffort = (typeof efforts)[number];

/** The model knows three efforts. "none" means the lowest one, with the analysis channel closed. */
export function readEffort(asked: AskedEffort | null | undefined): Pick<TurnRequest, "effort" | "analysisTokens"> {
  switch (asked) {
    case "none":
      return { effort: "low", analysisTokens: 0 };
    case "minimal":
    case "low":
      return { effort: "low" };
    case "high":
    case "xhigh":
    case "max":
      return { effort: "high" };
    default:
      return { effort: "medium" };
  }
}
