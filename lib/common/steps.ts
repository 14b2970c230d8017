import type { Breather } from "./breather.js";

/** Work that is done in steps of some milliseconds: at once, or with turns for everybody else between them. */
export type Steps<T> = Generator<undefined, T>;

/** All steps at once. */
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
