import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { ApiError } from "./errors.js";

/** Records the routes that `app` adds from now on, to distinguish a wrong path from a wrong method. */
export class KnownRoutes {
  readonly #routes: { methods: readonly string[]; pattern: RegExp; isExact: boolean }[] = [];

  constructor(app: FastifyInstance) {
    app.addHook("onRoute", ({ method, url, config }) => {
      if (config?.unknown || url === "*") return;
      const pattern = url.split("/").map((part) => {
        if (part.startsWith(":")) return "[^/]+";
        return part === "*" ? ".+" : part.replace(/\W/g, "\\$&");
      });
      const isExact = !/[:*]/.test(url);
      this.#routes.push({ methods: [method].flat(), pattern: new RegExp(`^${pattern.join("/")}/?$`), isExact });
    });
  }

  /**
   * A handler for requests that match no route. Any name fits a route for ids, also that of an endpoint which this
   * server does not have. So such a route does not make a wrong method of what is not there.
   */
  readonly refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<never> => {
    const path = pathOf(request);
    const routes = this.#routesAt(path);
    if (routes.length === 0) throw new ApiError(404, `There is nothing at ${path}`);
    const allowed = [...new Set(routes.flatMap(({ methods, isExact }) => (isExact ? methods : [])))];
    if (allowed.length === 0) throw new ApiError(404, `There is nothing at ${path} for ${request.method}`);
    reply.header("allow", allowed.join(", "));
    throw new ApiError(405, `${path} takes ${allowed.join(" or ")}, not ${request.method}`);
  };

  /**
   * Refuses a request whose path has an endpoint of its own, and which matches only a route for ids there: the name of an
   * endpoint is no id.
   */
  readonly refuseNames = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const matched = request.routeOptions.url ?? "";
    if (!matched.includes("/:")) return;
    if (this.#routesAt(pathOf(request)).some(({ isExact }) => isExact)) await this.refuse(request, reply);
  };

  /** Whether a route exists at the request's path, with any method. */
  has(request: FastifyRequest): boolean {
    return this.#routesAt(pathOf(request)).length > 0;
  }

  #routesAt(path: string) {
    return this.#routes.filter(({ pattern }) => pattern.test(path));
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
