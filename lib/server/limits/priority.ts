import type { FastifyRequest } from "fastify";
import { badRequest } from "../http/error-response.js";
import type { Warning } from "../http/warnings.js";
import { bearerKey } from "../tenants/api-keys.js";

/** The lowest and the highest priority that a request may ask for. */
export type PriorityRange = readonly [number, number];

/** A range for all requests, or a function of the key; `null`: a request without a key. */
export type PriorityGrant = PriorityRange | ((apiKey: string | null) => PriorityRange);

/**
 * The priority that a body gets, and a warning for its client. A priority out of range is changed, not refused: clients
 * send one to servers of all kinds.
 *
 * @throws ApiError 400 when requests are checked strictly
 */
export function grantedPriority(
  request: FastifyRequest<{ Body: { priority?: number } }>,
  { priorityRange = [0, 0], strictRequests }: { priorityRange?: PriorityGrant; strictRequests?: boolean },
): { priority: number | undefined; warnings: Warning[] } {
  const { priority: asked } = request.body;
  if (asked === undefined) return { priority: undefined, warnings: [] };
  const [low, high] =
    typeof priorityRange === "function" ? priorityRange(bearerKey(request.headers.authorization)) : priorityRange;
  const priority = Math.min(Math.max(asked, low), high);
  if (priority === asked) return { priority, warnings: [] };
  const allowed = low === high ? `${low} alone` : `${low} to ${high}`;
  const message = `priority is ${asked}, and this server grants ${allowed}`;
  if (strictRequests) throw badRequest("priority", message);
  return { priority, warnings: [{ param: "priority", message: `${message}: it is taken as ${priority}` }] };
}
