import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from "fastify";
import type { ServerContext } from "../context.js";
import { disconnectSignal } from "../http/disconnect.js";
import { ApiError } from "../http/errors.js";
import { OnceLog } from "../http/once-log.js";
import { ticketOf } from "../limits/tickets.js";
import type { BodyCheck } from "./body-check.js";
import { collectBody, joined, owned, type RawBody } from "./collect.js";
import { largeBytes } from "./large-bodies.js";

/** Maximum characters of a client's unknown field name in the log. */
const maxName = 64;

/** Accepts only JSON, and keeps it as bytes until a route reads it. */
export function acceptJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", async (request: FastifyRequest, payload: Readable) => {
    return collectBody(payload, Number(request.headers["content-length"] ?? 0), request.routeOptions.bodyLimit!);
  });
}

type Context = Pick<ServerContext, "logger" | "strictRequests" | "contextLength" | "largeBodies">;

/** Route options that run `check` on the body: the handler gets the fields. Another thread reads a large body. */
export function checkedBody(check: BodyCheck, context: Context): RouteShorthandOptions {
  const log = new OnceLog(context.logger);
  return {
    preValidation: async (request, reply) => {
      const { fields, unknown } = await read(request, reply, check, context);
      for (const { param, name } of unknown) {
        if (context.strictRequests) throw unknownField(param);
        const line = { path: request.routeOptions.url, field: name.slice(0, maxName) };
        log.warn(name, line, "a field of a request's body is not known here and has no effect");
      }
      request.body = fields;
    },
  };
}

function read(request: FastifyRequest, reply: FastifyReply, check: BodyCheck, context: Context) {
  const body = request.body as RawBody | undefined;
  const { largeBodies, contextLength } = context;
  const limits = { contextLength };
  if (largeBodies === undefined || body === undefined || body.length < largeBytes) {
    return check.read(body && joined(body), limits);
  }
  const task = { check: check.name, chunks: owned(body), limits };
  request.body = undefined; // the thread takes over its memory
  return largeBodies.read(task, { client: ticketOf(request).client, signal: disconnectSignal(request, reply) });
}

function unknownField(param: string): ApiError {
  return new ApiError(400, `'${param}' is not a field that this server knows.`, { param, code: "unknown_parameter" });
}
