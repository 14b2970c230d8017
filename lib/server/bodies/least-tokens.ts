import { contextOverflow } from "../../errors.js";
import { leastOfMessage } from "../../harmony/render.js";
import { leastTokens } from "../../tokenizer/encode-within.js";
import { badRequest } from "../http/error-response.js";
import type { ApiError } from "../http/errors.js";

/**
 * Counts the minimum number of tokens of a prompt without reading it, to refuse a prompt that no context can hold
 * early.
 */
export class LeastTokens {
  readonly #contextLength: number;
  #messages = 0;
  #units = 0;

  constructor(contextLength: number) {
    this.#contextLength = contextLength;
  }

  messages(count: number): void {
    this.#messages += count;
  }

  /** Counts a text, or parts that have one text each. */
  content(content: unknown): void {
    if (typeof content === "string") this.#units += content.length;
    if (!Array.isArray(content)) return;
    for (const part of content as ({ text?: unknown } | string | null)[]) {
      const text = typeof part === "string" ? part : part?.text;
      if (typeof text === "string") this.#units += text.length;
    }
  }

  get isTooLong(): boolean {
    return this.#messages * leastOfMessage + leastTokens(this.#units) >= this.#contextLength;
  }

  refusal(param: string): ApiError {
    return badRequest(param, contextOverflow(this.#contextLength, null, param).message, "context_length_exceeded");
  }
}
