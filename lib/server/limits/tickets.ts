import type { FastifyReply, FastifyRequest } from "fastify";
import { whenOver } from "../http/disconnect.js";
import { ClientLimits, type Ticket } from "./limits.js";

/** Stands for "no limit", in a server without a guard, as in tests. */
const any = Number.MAX_SAFE_INTEGER;
const unlimited = new ClientLimits({
  requestsPerMinute: any,
  tokensPerMinute: any,
  concurrentRequests: any,
  clock: () => new Date(),
});

const tickets = new WeakMap<FastifyRequest, Ticket>();

/** Admits a request, until its answer ends. @throws ApiError 429 */
export function admit(request: FastifyRequest, reply: FastifyReply, limits: ClientLimits, client: string): void {
  const ticket = limits.enter(client, (headers) => reply.headers(headers));
  tickets.set(request, ticket);
  whenOver(reply, () => ticket.leave());
}

export function ticketOf(request: FastifyRequest): Ticket {
  return tickets.get(request) ?? unlimited.enter("");
}
