import type { FastifyInstance } from "fastify";
import { invalid, unsupported } from "../bodies/refusals.js";
import { ApiError } from "../http/errors.js";
import { sendJson } from "../http/json-pieces.js";
import { tenantOf } from "../tenants/tenant.js";
import { listedItem } from "./listed-item.js";
import type { ResponseStore, StoredResponse } from "./store.js";

type Query = Record<string, unknown>;
type ById = { Params: { id: string }; Querystring: Query };

/** The endpoints of stored responses. Each tenant sees only its own. A response in progress is not stored yet. */
export function retrieval(app: FastifyInstance): void {
  app.get<ById>("/v1/responses/:id", (request, reply) => {
    if (request.query.stream === "true") {
      throw unsupported("stream", "The events of a stored response cannot be replayed.");
    }
    sendJson(reply, existing(tenantOf(request).responses, request.params.id).response);
  });

  app.delete<ById>("/v1/responses/:id", (request, reply) => {
    const { id } = request.params;
    if (!tenantOf(request).responses.delete(id)) throw notFound(id);
    reply.send({ id, object: "response", deleted: true });
  });

  // As in OpenAI's API, only background responses can be cancelled. Other clients close the connection.
  app.post<ById>("/v1/responses/:id/cancel", (request) => {
    existing(tenantOf(request).responses, request.params.id);
    throw new ApiError(400, "Only background responses can be cancelled; close the connection of a running one.", {
      code: "response_not_cancellable",
    });
  });

  app.get<ById>("/v1/responses/:id/input_items", (request, reply) => {
    const { context } = existing(tenantOf(request).responses, request.params.id);
    sendJson(
      reply,
      page(
        context.flatMap(({ item }) => listedItem(item)),
        request.query,
      ),
    );
  });
}

/** @throws ApiError 404 that names `param` */
export function existing(store: ResponseStore, id: string, param: string | null = null): StoredResponse {
  const stored = store.get(id);
  if (stored === undefined) throw notFound(id, param);
  return stored;
}

function notFound(id: string, param: string | null = null): ApiError {
  return new ApiError(404, `Response with id '${id}' not found.`, { code: "response_not_found", param });
}

/** One page of a list, with OpenAI's cursors. The default order is newest first. */
function page<T extends { id: string }>(items: readonly T[], query: Query): object {
  const { order = "desc", after } = query;
  const limit = limitOf(query.limit);
  if (order !== "asc" && order !== "desc") throw invalid("order", "asc or desc", order);
  const ordered = order === "asc" ? items : items.toReversed();
  let from = 0;
  if (after !== undefined) {
    from = ordered.findIndex(({ id }) => id === after) + 1;
    if (from === 0) throw invalid("after", "the id of one of the items", after);
  }
  const data = ordered.slice(from, from + limit);
  return {
    object: "list",
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: from + limit < ordered.length,
  };
}

function limitOf(value: unknown): number {
  const limit = value === undefined ? 20 : Number(value);
  if (!Number.isInteger(limit) || limit < 1 || limit > 100) throw invalid("limit", "an integer in [1, 100]", value);
  return limit;
}
