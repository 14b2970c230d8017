import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { ApiError } from "./errors.js";

/** Knows the routes of `app` from now on, to tell a wrong path from a wrong method. */
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

  /** A handler for what no route takes. */
  readonly refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<never> => {
    const path = pathOf(request);
    const allowed = this.#methodsOf(path);
    if (allowed.length === 0) throw new ApiError(404, `There is nothing at ${path}`);
    reply.header("allow", allowed.join(", "));
    throw new ApiError(405, `${path} takes ${allowed.join(" or ")}, not ${request.method}`);
  };

  /** Whether there is anything at a request's path, by whatever method. */
  has(request: FastifyRequest): boolean {
    return this.#methodsOf(pathOf(request)).length > 0;
  }

  #methodsOf(path: string): string[] {
    const routes = this.#routes.filter(({ pattern }) => pattern.test(path));
    return [...new Set(routes.flatMap(({ methods }) => methods))];
  }

  /** Makes everything else under /v1 an answer of ours, also within an app that has its own for unknown paths. */
  refuseUnder(app: FastifyInstance): void {
    const method = app.supportedMethods as HTTPMethods[];
    app.route({ method, url: "/v1/*", config: { unknown: true }, onRequest: this.refuse, handler: this.refuse });
  }
}

function pathOf({ url }: FastifyRequest): string {
  return url.split("?", 1)[0]!;
}
