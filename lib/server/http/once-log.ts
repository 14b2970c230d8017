import type { FastifyBaseLogger } from "fastify";

/** Different things that the log hears of; clients could make up ever new ones. */
const most = 200;

/** Warnings that would come with every request, and are of use once. */
export class OnceLog {
  readonly #heard = new Set<string>();
  readonly #logger: FastifyBaseLogger;

  constructor(logger: FastifyBaseLogger) {
    this.#logger = logger;
  }

  /** @param key what is warned of; the same key again is not */
  warn(key: string, line: object, text: string): void {
    if (this.#heard.has(key) || this.#heard.size >= most) return;
    this.#heard.add(key);
    this.#logger.warn(line, text);
    if (this.#heard.size === most) this.#logger.warn(`${most} such warnings were written; further ones are left out`);
  }
}
