import type { FastifyBaseLogger } from "fastify";

/** Maximum number of different warnings: clients could invent new ones without end. */
const most = 200;

/** Writes each warning once, although every request would repeat it. */
export class OnceLog {
  readonly #heard = new Set<string>();
  readonly #logger: FastifyBaseLogger;

  constructor(logger: FastifyBaseLogger) {
    this.#logger = logger;
  }

  /** @param key identifies the warning; a repeated key is not logged */
  warn(key: string, line: object, text: string): void {
    if (this.#heard.has(key) || this.#heard.size >= most) return;
    this.#heard.add(key);
    this.#logger.warn(line, text);
    if (this.#heard.size === most) this.#logger.warn(`${most} such warnings were written; further ones are left out`);
  }
}
