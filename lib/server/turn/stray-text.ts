import type { FastifyBaseLogger } from "fastify";
import type { TurnRequest } from "./turn.js";

/**
 * Logs what the model wrote in headers, where no message has it. The log has no answers, so only the number of
 * characters is written. The logger is the request's: it adds the request's id.
 */
export function strayText(logger: FastifyBaseLogger): Required<Pick<TurnRequest, "onStray">> {
  const text = "the model wrote text in a header, where it is no part of the answer";
  return { onStray: (characters) => logger.warn({ characters }, text) };
}
