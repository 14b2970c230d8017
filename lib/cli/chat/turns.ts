import type { ChatMessage } from "../../chat/chat.js";

/** How many turns there are; each begins with what the user said. */
export function countTurns(messages: readonly ChatMessage[]): number {
  return messages.filter(({ role }) => role === "user").length;
}

/** The conversation without its oldest turns. */
export function withoutOldest(messages: readonly ChatMessage[], turns: number): ChatMessage[] {
  let left = turns;
  const first = messages.findIndex(({ role }) => role === "user" && left-- === 0);
  return first < 0 ? [] : messages.slice(first);
}

/**
 * How many of the oldest turns to drop so that the conversation takes at most `enough` tokens, or if even its last turn
 * takes more, at most `most`; null when that does not help either. The last turn always stays.
 */
export function turnsToDrop(
  messages: readonly ChatMessage[],
  tokensOf: (messages: readonly ChatMessage[]) => number,
  enough: number,
  most: number,
): number | null {
  const last = countTurns(messages) - 1;
  let least = 0;
  let end = last;
  // Fewer turns take fewer tokens, so halving finds the place; a long conversation is encoded a few times only.
  while (least < end) {
    const middle = Math.floor((least + end) / 2);
    if (tokensOf(withoutOldest(messages, middle)) <= enough) end = middle;
    else least = middle + 1;
  }
  return tokensOf(withoutOldest(messages, least)) <= (least === last ? most : enough) ? least : null;
}
