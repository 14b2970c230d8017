import type { TurnRequest } from "../turn/turn.js";

/** Efforts of OpenAI's API, as every endpoint takes them. */
export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

export type AskedEffort = (typeof efforts)[number];

/** The model knows three efforts. "none" is the lowest, with the analysis channel closed. */
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
