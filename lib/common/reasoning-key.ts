/** The secret that seals reasoning for clients. Servers that share it read each other's reasoning. */

/** A shorter secret could be guessed, and every reasoning that it sealed would be open. */
const least = 32;
const most = 4096;

export const expectedReasoningKey = `a secret of ${least} to ${most} characters`;

export function isReasoningKey(value: unknown): value is string {
  return typeof value === "string" && value.length >= least && value.length <= most;
}
