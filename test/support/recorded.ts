import { readFileSync } from "node:fs";
import path from "node:path";
import type { FunctionTool } from "../../lib/harmony/index.js";
import type { ChatMessage } from "../../lib/index.js";

/** The answers of the oracle with the embedded demo model: `test/golden/demo/expected.jsonl`. */
export interface Recorded {
  id: string;
  tools: FunctionTool[];
  messages: ChatMessage[];
  current_date: string;
  reasoning_effort: "low" | "medium" | "high";
  prompt_ids: number[];
  completion_ids: number[];
  /** True when no token was a near tie, so that rounding does not change the answer. */
  robust: boolean;
}

export const recorded = readFileSync(path.resolve("test/golden/demo/expected.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Recorded);

/** Those that every backend must give, token for token. */
export const robust = recorded.filter(({ robust }) => robust);
