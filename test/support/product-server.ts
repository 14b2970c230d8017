import type { FastifyInstance } from "fastify";
import { buildServer } from "../../lib/server/app.js";
import type { ServerContext } from "../../lib/server/context.js";
import { checkServerOptions, type ServerOptions } from "../../lib/server/options.js";
import { buildParts } from "../../lib/server/parts.js";
import type { StoreLimits } from "../../lib/server/responses/store.js";
import { Gate } from "../../lib/server/tenants/gate.js";
import { Tenants } from "../../lib/server/tenants/tenants.js";

/** Parts of a server that a test can replace and no option sets. */
export interface Exchanged {
  /** Replaces members of the endpoints' context. */
  context?: Partial<ServerContext>;
  /** Limits of stored responses. */
  store?: StoreLimits | undefined;
}

/** The server of `createServer`, with its routes, hooks, error handler and 404s. */
export function productServer(
  options: ServerOptions,
  { context = {}, store }: Exchanged = {},
): Promise<FastifyInstance> {
  return buildServer(checkServerOptions(options), (checked, logger) => {
    const parts = buildParts(checked, logger);
    return {
      ...parts,
      context: Object.create(parts.context, Object.getOwnPropertyDescriptors(context)) as ServerContext,
      ...(store && { gate: new Gate(checked, new Tenants({ ...checked, store })) }),
    };
  });
}
