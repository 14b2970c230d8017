/** The format tokens of `o200k_harmony`. They enter a prompt only by id: no text encodes to one. */
export const formatTokens = {
  startOfText: 199998,
  endOfText: 199999,
  return: 200002,
  constrain: 200003,
  channel: 200005,
  start: 200006,
  end: 200007,
  message: 200008,
  call: 200012,
} as const;

const messageEnds: ReadonlySet<number> = new Set([formatTokens.return, formatTokens.end, formatTokens.call]);

/** Whether this token closes a message. */
export function endsMessage(token: number): boolean {
  return messageEnds.has(token);
}

/**
 * Returns the tokens that close a message: `<|return|>`, `<|end|>`, `<|call|>`.
 *
 * @example
 * ```ts
 * stopTokens(); // [200002, 200007, 200012]
 * ```
 */
export function stopTokens(): number[] {
  return [...messageEnds];
}

/**
 * Returns the tokens that end sampling of an assistant turn: `<|return|>` and `<|call|>`. `<|end|>` only separates
 * messages.
 *
 * @example
 * ```ts
 * engine.generate(prompt, { stopTokens: stopTokensForAssistantActions() });
 * ```
 */
export function stopTokensForAssistantActions(): number[] {
  return [formatTokens.return, formatTokens.call];
}

/** The tokens that end a turn of the assistant. `<|end|>` ends only a message. */
export const turnEnds: readonly number[] = [formatTokens.endOfText, formatTokens.return, formatTokens.call];

/** The marker in header text and in `content_type`, where it represents the control token. */
export const constrainMarker = "<|constrain|>";
export const channelMarker = "<|channel|>";
