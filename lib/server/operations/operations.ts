import type { FastifyInstance } from "fastify";
import type { ServerParts } from "../parts.js";

/**
 * The endpoints for orchestrators, routers and dashboards. They need no key, have no limits, and answer while the model
 * loads.
 */
export function operations(
  app: FastifyInstance,
  { health, drain, metrics, gate, version, options }: ServerParts,
): void {
  const probe = { config: { probe: true } };

  app.get("/live", probe, async (_, reply) => reply.send());

  for (const path of ["/health", "/ping"]) {
    app.get(path, probe, async (request, reply) => {
      const state = health.check();
      if (!state.ok) request.log.warn({ reason: state.reason }, "not healthy");
      return reply.code(state.ok ? 200 : 503).send();
    });
  }

  app.get("/ready", probe, async (_, reply) => {
    return reply.code(health.check().ok && !drain.isDraining ? 200 : 503).send();
  });

  app.get("/version", async () => ({ version }));

  app.get("/metrics", probe, async (request, reply) => {
    if (options.metricsNeedKey) gate.identify(request);
    return reply.header("content-type", metrics.contentType).send(await metrics.text());
  });
}
