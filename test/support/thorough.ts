/**
 * `npm run test:thorough` sets TEST_THOROUGH. Tests that take minutes then run too, and random tests draw more samples.
 * vitest.config.ts lists the files that use this.
 */
export const isThorough = process.env.TEST_THOROUGH === "1";

/** Number of random samples: few in each run of the tests, many in a thorough one. */
export function draws(few: number, many: number): number {
  return isThorough ? many : few;
}
