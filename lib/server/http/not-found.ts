import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { ApiError } from "./errors.js";

/** Records the routes that `app` adds from now on, to distinguish a wrong path from a wrong method. */
export class KnownRoutes {
  readonly #routes: { methods: readonly string[]; pattern: RegExp }[] = [];

  constructor(app: FastifyInstance) {
    app.addHook("onRoute", ({ method, url, config }) => {
      if (config?.unknown || url === "*") return;
      const pattern = url.split("/").map((part) => {
        if (part.startsWith(":")) return "[^/]+";
        return part === "*" ? ".+" : part.replace(/\W/g, "\\$&");
      });
      this.#routes.push({ methods: [method].flat(), pattern: new RegExp(`^${pattern.join("/")}/?$`) });
    });
  }

  /** A handler for requests that match no route. */
  readonly refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<never> => {
    const path = pathOf(request);
    const allowed = this.#methodsOf(path);
    if (allowed.length === 0) throw new ApiError(404, `There is nothing at ${path}`);
    reply.header("allow", allowed.join(", "));
    throw new ApiError(405, `${path} takes ${allowed.join(" or ")}, not ${request.method}`);
  };

  /** Whether a route exists at the request's path, with any method. */
  has(request: FastifyRequest): boolean {
    return this.#methodsOf(pathOf(request)).length > 0;
  }

  #methodsOf(path: string): string[] {
    const routes = this.#routes.filter(({ pattern }) => pattern.test(path));
    return [...new Set(routes.flatMap(({ methods }) => methods))];
  }

  /** Answers every other path under /v1 in the API's format, also in an app with its own handler for unknown paths. */
  refuseUnder(app: FastifyInstance): void {
    const method = app.supportedMethods as HTTPMethods[];
    app.route({ method, url: "/v1/*", config: { unknown: true }, onRequest: this.refuse, handler: this.refuse });
  }
}

function pathOf({ url }: FastifyRequest): string {
  return url.split("?", 1)[0]!;
}
