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
/** Tickets of work that goes on after the answer. */
const kept = new WeakSet<Ticket>();

declare module "fastify" {
  interface FastifyContextConfig {
    /** It is served also to a client that has all its requests at once. */
    generatesNothing?: boolean;
  }
}

/** Options of a route that generates nothing. So a client can look at its work and end it, however much it runs. */
export const generatesNothing = { config: { generatesNothing: true } };

/** Admits a request, until its answer ends. @throws ApiError 429 */
export function admit(request: FastifyRequest, reply: FastifyReply, limits: ClientLimits, client: string): void {
  const places = request.routeOptions.config.generatesNothing ? 0 : 1;
  const ticket = limits.enter(client, (headers) => reply.headers(headers), places);
  tickets.set(request, ticket);
  whenOver(reply, () => {
    if (!kept.has(ticket)) ticket.leave();
  });
}

/** Keeps a ticket for work that goes on after the answer: `leave` must be called at the end of the work. */
export function keepTicket(ticket: Ticket): void {
  kept.add(ticket);
}

export function ticketOf(request: FastifyRequest): Ticket {
  return tickets.get(request) ?? unlimited.enter("");
}
