/** The secrets that seal reasoning for clients. Servers that share them read each other's reasoning. */

/** A shorter secret could be guessed, and every reasoning that it sealed would be open. */
const least = 32;
const most = 4096;

/** The most secrets of one server. A text that none of them opens is tried with each. */
export const mostReasoningKeys = 8;

export const expectedReasoningKey = `a secret of ${least} to ${most} characters`;

export const expectedReasoningKeys = `${expectedReasoningKey} in each line, at most ${mostReasoningKeys} lines,`;

export function isReasoningKey(value: unknown): value is string {
  return typeof value === "string" && value.length >= least && value.length <= most;
}

/** The secrets in a text, one in each line. Empty lines and comments, which begin with `#`, are none. */
export function reasoningKeysIn(text: string): { line: number; key: string }[] {
  const lines = text.split("\n").map((line, index) => ({ line: index + 1, key: line.trim() }));
  return lines.filter(({ key }) => key !== "" && !key.startsWith("#"));
}

/** Whether these are the secrets of one server: the first one seals, all of them open. */
export function areReasoningKeys(values: readonly unknown[]): values is readonly string[] {
  return values.length > 0 && values.length <= mostReasoningKeys && values.every(isReasoningKey);
}
