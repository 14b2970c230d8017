import type { ItemStatus, ReasoningItem, SummaryText } from "./objects.js";
import type { ReasoningSeal } from "./reasoning-seal.js";

/** The forms of a reasoning item beside its text, as the request asks for them. */
export interface ReasoningForms {
  /** The model writes no summary of its own, so the summary is the reasoning itself, in one part. */
  hasSummary: boolean;
  /** Makes `encrypted_content`. Null: the item has none. */
  seal: ReasoningSeal | null;
}

/** While the item is written, nothing is sealed. */
export function reasoningItem(
  { id, text }: { id: string; text: string },
  status: ItemStatus,
  { hasSummary, seal }: ReasoningForms,
): ReasoningItem {
  const isWritten = status !== "in_progress";
  return {
    type: "reasoning",
    id,
    // An event announces the part, so it is not there before the first text.
    summary: hasSummary && (isWritten || text !== "") ? [summaryText(text)] : [],
    // The part exists from the start, because no event announces it: the official client appends deltas to it.
    content: [{ type: "reasoning_text", text }],
    ...(seal !== null && isWritten && { encrypted_content: seal.seal(text) }),
    status,
  };
}

/** The last words of the event types with which a summary is streamed. */
export type SummaryStep = "part.added" | "text.delta" | "text.done" | "part.done";

/** The member of such an event that carries the text. */
export function summaryFields(step: SummaryStep, text: string): Record<string, unknown> {
  if (step === "text.delta") return { delta: text };
  return step === "text.done" ? { text } : { part: summaryText(text) };
}

function summaryText(text: string): SummaryText {
  return { type: "summary_text", text };
}
