/** What a text must be. */
export type OutputFormat =
  /** A value of this JSON schema; a keyword that is not supported is refused by name. */
  | { type: "json_schema"; schema: Record<string, unknown> | boolean }
  | { type: "json_object" }
  /** The whole text, anchored at both ends. */
  | { type: "regex"; pattern: string }
  | { type: "choice"; choices: readonly string[] };

/**
 * What an assistant's turn must be, from `<|start|>assistant` on: well-formed harmony messages, each `analysis`,
 * `commentary` or `final`, until `<|return|>` or `<|call|>`.
 */
export interface HarmonyConstraint {
  kind: "harmony";
  /** The declared functions; arguments are values of `parameters` (null: any JSON object). */
  tools?: readonly { name: string; parameters?: Record<string, unknown> | null }[];
  /**
   * "none": no recipient at all. "auto" (default): a call to any tool, or a final message. "required": a call, to one
   * of `names` if given, after any number of analysis messages; no final message.
   */
  toolChoice?: "none" | "auto" | "required";
  /** The tools that may be called; absent: all. */
  names?: readonly string[];
  /** Format of the body of the final message; absent: any text. */
  final?: OutputFormat;
  /** Tokens of analysis text in the whole turn, after which the message is closed; 0: no analysis. Absent: no limit. */
  analysisTokens?: number;
}

/** The whole completion is a text of this format, followed by a stop token. */
export interface TextConstraint {
  kind: "text";
  format: OutputFormat;
}

export type Constraint = HarmonyConstraint | TextConstraint;
