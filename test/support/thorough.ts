/**
 * `npm run test:thorough` sets TEST_THOROUGH. Then what takes minutes runs too, and what is drawn at random is drawn more
 * often. vitest.config.ts lists the files that ask.
 */
export const isThorough = process.env.TEST_THOROUGH === "1";

/** How many to draw: few in each run of the tests, many in a thorough one. */
export function draws(few: number, many: number): number {
  return isThorough ? many : few;
}
