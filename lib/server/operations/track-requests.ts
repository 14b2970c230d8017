import { STATUS_CODES } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { setPlace, whenOver } from "../http/disconnect.js";
import { ApiError } from "../http/errors.js";
import type { StalledReaders } from "../limits/stalled-readers.js";
import { plainAddress } from "../tenants/client-address.js";
import type { Drain } from "./drain.js";
import type { ServerMetrics } from "./metrics.js";

/** Request ids that clients may choose: they must be safe in a header, a log line or a page. */
const saneId = /^[\w.:+/=@-]{1,128}$/;

/** Fastify's `genReqId`. */
export function requestId(request: { headers: NodeJS.Dict<string | string[]> }): string {
  const asked = request.headers["x-request-id"];
  return typeof asked === "string" && saneId.test(asked) ? asked : crypto.randomUUID();
}

/**
 * Follows every request of `app` from its headers to its end: its id, its place among the running requests, its log
 * line and its metrics. It also watches whether the client reads the answer. It keeps nothing of the body, URL or
 * headers. Even the path is logged as the route's pattern, because the id of a response lets anyone read it.
 */
export function trackRequests(
  app: FastifyInstance,
  parts: { drain: Drain; metrics: ServerMetrics; stalledReaders: StalledReaders; maxHeaders: number },
): void {
  const { drain, metrics, stalledReaders, maxHeaders } = parts;
  app.addHook("onClose", async () => stalledReaders.close());
  app.addHook("onRequest", async (request, reply) => {
    stalledReaders.watch(reply);
    const started = performance.now();
    const place = drain.begin();
    setPlace(request, place);
    // On the raw response, so that endpoints that write their own streams send it too.
    reply.raw.setHeader("x-request-id", request.id);
    if (drain.isDraining) reply.header("connection", "close");
    whenOver(reply, (complete) => {
      place.end();
      const milliseconds = performance.now() - started;
      const status = complete ? reply.raw.statusCode : 499;
      metrics.answered(handlerOf(request), request.method, status, milliseconds / 1000);
      const isCut = stalledReaders.hasCut(reply);
      if (isCut) metrics.cutReader();
      log(request, reply, status, milliseconds, isCut ? "cut: the client did not read its answer" : undefined);
    });
    if (request.raw.rawHeaders.length / 2 > maxHeaders) {
      throw new ApiError(431, `A request may have at most ${maxHeaders} headers`, { code: "too_many_headers" });
    }
  });
}

/** The route of the request. All unknown paths share one name: each would otherwise become a series of its own. */
function handlerOf(request: FastifyRequest): string {
  const route = request.routeOptions.url;
  return route === undefined || request.is404 || request.routeOptions.config.unknown ? "none" : route;
}

function log(request: FastifyRequest, reply: FastifyReply, status: number, milliseconds: number, why?: string): void {
  const line = {
    method: request.method,
    path: handlerOf(request),
    status,
    milliseconds: Math.round(milliseconds * 10) / 10,
    bytes: Number(reply.raw.getHeader("content-length") ?? 0) || undefined,
    remoteAddress: plainAddress(request.ip),
  };
  const text = why ?? (status === 499 ? "client closed the connection" : (STATUS_CODES[status] ?? "answered"));
  // Probes come every second. A successful one carries no information.
  if (request.routeOptions.config.probe && status < 400) request.log.debug(line, text);
  else request.log.info(line, text);
}
