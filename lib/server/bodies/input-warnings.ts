import type { Warning } from "../http/warnings.js";

/** What an input has and the model does not get: each message once, at the first place that it is true of. */
export class InputWarnings {
  readonly #warnings = new Map<string, Warning>();

  add(param: string, message: string): void {
    if (!this.#warnings.has(message)) this.#warnings.set(message, { param, message });
  }

  get all(): Warning[] {
    return [...this.#warnings.values()];
  }
}
