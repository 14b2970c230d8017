import type { Breather } from "./breather.js";

/** Work in steps of some milliseconds. It runs at once, or lets other work run between the steps. */
export type Steps<T> = Generator<undefined, T>;

/** Runs all steps at once. */
export function finished<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

export async function unhurried<T>(steps: Steps<T>, breather: Breather): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    await breather.rest();
  }
}
