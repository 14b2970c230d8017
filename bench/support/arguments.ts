/** An invalid command line. The message is one sentence; the exit code is 2. */
export class UsageError extends Error {}

/** The integers of `--name 1,2,3`. */
export function counts(name: string, text: string, least = 1): number[] {
  const numbers = text.split(",").map(Number);
  if (numbers.some((n) => !Number.isInteger(n) || n < least)) {
    throw new UsageError(`Expected integers >= ${least} for --${name} but received "${text}"`);
  }
  return numbers;
}
