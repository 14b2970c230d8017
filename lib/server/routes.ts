import cors from "@fastify/cors";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { acceptJson } from "./bodies/checked-body.js";
import { refuseOtherEncodings } from "./bodies/encoding.js";
import { endpoints } from "./endpoints.js";
import { handleError } from "./http/errors.js";
import { KnownRoutes } from "./http/not-found.js";
import { warningsHeader } from "./http/warnings.js";
import { rateLimitHeaders } from "./limits/limits.js";
import { admit } from "./limits/tickets.js";
import { operations } from "./operations/operations.js";
import { trackRequests } from "./operations/track-requests.js";
import type { ServerParts } from "./parts.js";

/** Adds all routes of a server. `app` is the server's own app, or a scope within another app. */
export async function routes(app: FastifyInstance, parts: ServerParts): Promise<KnownRoutes> {
  const { options, metrics } = parts;
  const known = new KnownRoutes(app);
  app.setErrorHandler(handleError);
  trackRequests(app, { ...parts, maxHeaders: options.maxHeaders });
  if (options.cors.length > 0) {
    const origins = options.cors.includes("*") ? ["*"] : [...options.cors];
    await app.register(cors, {
      delegator: async (request: FastifyRequest) => ({
        origin: origins[0] === "*" ? "*" : origins,
        methods: ["GET", "POST", "DELETE"],
        exposedHeaders: ["x-request-id", "retry-after", ...rateLimitHeaders, warningsHeader],
        maxAge: 600,
        // Any other OPTIONS request gets the answer of a wrong method.
        preflight: isPreflight(request) && known.has(request),
      }),
    });
  }
  app.addHook("onRequest", async (_, reply) => {
    // Copies the headers to the raw response, for endpoints that write their stream there.
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(name, value);
    }
  });
  app.addHook("onRoute", (route) => {
    route.bodyLimit ??= options.maxBodyBytes;
  });
  refuseOtherEncodings(app);
  acceptJson(app);
  app.addHook("onClose", async () => {
    metrics.close();
    parts.largeBodies.close();
    await parts.background.close();
  });
  await app.register(async (scope) => operations(scope, parts));
  await app.register(async (scope) => {
    guard(scope, parts);
    scope.addHook("onRequest", known.refuseNames);
    for (const endpoint of endpoints) await endpoint(scope, parts.context);
    known.refuseUnder(scope);
  });
  return known;
}

/** Whether this is the request with which a browser asks for permission. */
function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === "OPTIONS" && Boolean(headers.origin && headers["access-control-request-method"]);
}

/** Refuses requests without a valid key where there are keys, before the model is loaded, or over a limit. */
function guard(app: FastifyInstance, { gate, drain, source, limits }: ServerParts): void {
  app.addHook("onRequest", async (request, reply) => {
    const client = gate.admit(request);
    drain.refuseNew();
    source.require();
    admit(request, reply, limits, client);
  });
}
