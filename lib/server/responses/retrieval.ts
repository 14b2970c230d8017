import type { FastifyInstance } from "fastify";
import { invalid, unsupported } from "../bodies/refusals.js";
import type { ServerContext } from "../context.js";
import { disconnectSignal } from "../http/disconnect.js";
import { ApiError } from "../http/errors.js";
import { sendJson } from "../http/json-pieces.js";
import { streamAnswer } from "../http/stream-answer.js";
import { generatesNothing } from "../limits/tickets.js";
import { tenantOf } from "../tenants/tenant.js";
import { page } from "./page.js";
import type { ResponseStore } from "./store.js";
import type { ResponseWork, StoredResponse } from "./stored.js";

type Query = Record<string, unknown>;
type ById = { Params: { id: string }; Querystring: Query };

/** The endpoints of stored responses. Each tenant sees only its own. Of those in progress, background ones are stored. */
export function retrieval(app: FastifyInstance, { keepAliveMilliseconds }: ServerContext): void {
  app.get<ById>("/v1/responses/:id", generatesNothing, (request, reply) => {
    const after = startingAfter(request.query.starting_after);
    // A HEAD has no body to wait for.
    const isStream = flag(request.query.stream, "stream") && request.method !== "HEAD";
    const stored = existing(tenantOf(request).responses, request.params.id);
    if (!isStream) return sendJson(reply, stored.response);
    const events = eventsOf(stored)(after, disconnectSignal(request, reply));
    return streamAnswer(reply, events, { keepAliveMilliseconds, nameOf: ({ type }) => type });
  });

  app.delete<ById>("/v1/responses/:id", generatesNothing, (request, reply) => {
    const { id } = request.params;
    const store = tenantOf(request).responses;
    existing(store, id).work?.discard();
    store.delete(id);
    reply.send({ id, object: "response", deleted: true });
  });

  app.post<ById>("/v1/responses/:id/cancel", generatesNothing, (request, reply) => {
    const store = tenantOf(request).responses;
    const { id } = request.params;
    const { response, work } = existing(store, id);
    // As in OpenAI's API, only background responses can be cancelled. Other clients close the connection.
    if (work === undefined) {
      throw notCancellable("Only background responses can be cancelled; close the connection of a running one.");
    }
    if (!work.isRunning && response.status !== "cancelled") {
      throw notCancellable(`The response has ended already: its status is '${response.status}'.`);
    }
    work.cancel();
    sendJson(reply, existing(store, id).response);
  });

  app.get<ById>("/v1/responses/:id/input_items", generatesNothing, (request, reply) => {
    const { context } = existing(tenantOf(request).responses, request.params.id);
    sendJson(reply, page(context, request.query));
  });
}

/** @throws ApiError 404 that names `param` */
export function existing(store: ResponseStore, id: string, param: string | null = null): StoredResponse {
  const stored = store.get(id);
  if (stored === undefined) throw notFound(id, param);
  return stored;
}

/** @throws ApiError 400: OpenAI's API replays the same responses */
function eventsOf({ work }: StoredResponse): NonNullable<ResponseWork["follow"]> {
  if (work === undefined) {
    throw unsupported("stream", "This response cannot be streamed: it was not created with 'background'.");
  }
  if (work.follow === null) {
    throw unsupported("stream", "This response cannot be streamed: it was not created with 'stream'.");
  }
  return work.follow;
}

/** The sequence number of the last event that the client has. @throws ApiError */
function startingAfter(value: unknown): number {
  if (value === undefined) return -1;
  const after = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
  if (Number.isNaN(after)) throw invalid("starting_after", "the sequence_number of an event", value);
  return after;
}

/** @throws ApiError */
function flag(value: unknown, param: string): boolean {
  if (value === undefined) return false;
  if (value !== "true" && value !== "false") throw invalid(param, "true or false", value);
  return value === "true";
}

function notCancellable(message: string): ApiError {
  return new ApiError(400, message, { code: "response_not_cancellable" });
}

function notFound(id: string, param: string | null = null): ApiError {
  return new ApiError(404, `Response with id '${id}' not found.`, { code: "response_not_found", param });
}
