import type { ConversationItem } from "./conversation.js";

/**
 * The conversation without its oldest turn, from one user message to the next; what stands before the first, its
 * instructions, stays. null when only one turn is left.
 */
export function dropOldestTurn(items: readonly ConversationItem[]): ConversationItem[] | null {
  const isUsers = ({ message }: ConversationItem) => message?.role === "user";
  const first = items.findIndex(isUsers);
  const second = items.findIndex((item, index) => index > first && isUsers(item));
  return first < 0 || second < 0 ? null : [...items.slice(0, first), ...items.slice(second)];
}
