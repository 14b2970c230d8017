import type { FastifyInstance, RouteShorthandOptions } from "fastify";
import type { BodyCheck } from "../bodies/body-check.js";
import { checkedBody } from "../bodies/checked-body.js";
import { InputWarnings } from "../bodies/input-warnings.js";
import { conversationCheck, conversationItemsCheck, conversationUpdateCheck } from "../bodies/kinds.js";
import { unsupported } from "../bodies/refusals.js";
import type { ServerContext } from "../context.js";
import { ApiError } from "../http/errors.js";
import { sendJson } from "../http/json-pieces.js";
import { OnceLog } from "../http/once-log.js";
import { type Warning, warn } from "../http/warnings.js";
import { generatesNothing } from "../limits/tickets.js";
import { type ConversationItem, newId } from "../responses/conversation.js";
import { readItems } from "../responses/input.js";
import { listedItem } from "../responses/listed-item.js";
import { page } from "../responses/page.js";
import { storeFull } from "../responses/store-full.js";
import type { StoredConversation } from "../responses/stored.js";
import { type Tenant, tenantOf } from "../tenants/tenant.js";
import type { ConversationBody, ConversationItemsBody, ConversationUpdateBody } from "./request.js";
import { append, existingConversation, ownItems, refuseLocked } from "./stored.js";

type ById = { Params: { id: string }; Querystring: Record<string, unknown> };
type ByItem = { Params: { id: string; item: string } };

/** The endpoints of conversations. Each tenant sees only its own. */
export function conversations(app: FastifyInstance, context: ServerContext): void {
  const log = new OnceLog(context.logger);
  const checked = (check: BodyCheck): RouteShorthandOptions => ({
    ...checkedBody(check, context),
    ...generatesNothing,
  });

  app.post<{ Body: ConversationBody }>("/v1/conversations", checked(conversationCheck), async (request, reply) => {
    const { items = [], metadata = {} } = request.body;
    const { responses: store } = tenantOf(request);
    if (!store.isOn) throw unsupported(null, "Conversations need the store, which is off.");
    const { read, warnings } = await readAdded(tenantOf(request), [], items);
    const now = context.clock();
    const stored: StoredConversation = {
      conversation: {
        id: newId("conversation"),
        object: "conversation",
        created_at: Math.floor(now.getTime() / 1000),
        metadata,
      },
      items: ownItems([], read),
      date: now.toISOString().slice(0, 10),
    };
    if (!store.putConversation(stored)) throw storeFull("this conversation");
    warn(reply, log, warnings);
    return stored.conversation;
  });

  app.get<ById>("/v1/conversations/:id", generatesNothing, (request, reply) => {
    reply.send(existingConversation(tenantOf(request).responses, request.params.id).conversation);
  });

  app.post<ById & { Body: ConversationUpdateBody }>(
    "/v1/conversations/:id",
    checked(conversationUpdateCheck),
    async (request) => {
      const { responses: store } = tenantOf(request);
      const stored = existingConversation(store, request.params.id);
      const conversation = { ...stored.conversation, metadata: request.body.metadata };
      if (!store.putConversation({ ...stored, conversation })) throw storeFull("this conversation");
      return conversation;
    },
  );

  app.delete<ById>("/v1/conversations/:id", generatesNothing, (request, reply) => {
    const { id } = request.params;
    const { responses: store } = tenantOf(request);
    existingConversation(store, id);
    store.delete(id);
    reply.send({ id, object: "conversation.deleted", deleted: true });
  });

  app.post<ById & { Body: ConversationItemsBody }>(
    "/v1/conversations/:id/items",
    checked(conversationItemsCheck),
    async (request, reply) => {
      const { id } = request.params;
      const { responses: store } = tenantOf(request);
      const { items: history } = existingConversation(store, id);
      const { read, warnings } = await readAdded(tenantOf(request), history, request.body.items);
      // Other requests may have changed it while the items were read.
      refuseLocked(store, id);
      const stored = existingConversation(store, id);
      const added = ownItems(stored.items, read);
      if (!append(store, stored, added)) throw storeFull("this conversation");
      warn(reply, log, warnings);
      return sendJson(reply, listOf(added));
    },
  );

  app.get<ById>("/v1/conversations/:id/items", generatesNothing, (request, reply) => {
    const { items } = existingConversation(tenantOf(request).responses, request.params.id);
    sendJson(reply, page(items, request.query));
  });

  app.get<ByItem>("/v1/conversations/:id/items/:item", generatesNothing, (request, reply) => {
    const { items } = existingConversation(tenantOf(request).responses, request.params.id);
    const { item } = items[placeOf(items, request.params.item)]!;
    sendJson(reply, listedItem(item)[0] ?? item);
  });

  app.delete<ByItem>("/v1/conversations/:id/items/:item", generatesNothing, (request, reply) => {
    const { responses: store } = tenantOf(request);
    const { id, item } = request.params;
    const stored = existingConversation(store, id);
    const place = placeOf(stored.items, item);
    refuseLocked(store, id);
    store.putConversation({ ...stored, items: stored.items.toSpliced(place, 1) });
    reply.send(stored.conversation);
  });
}

async function readAdded(
  { responses: store, seal }: Tenant,
  history: readonly ConversationItem[],
  items: readonly unknown[],
): Promise<{ read: ConversationItem[]; warnings: Warning[] }> {
  const warnings = new InputWarnings();
  const read = await readItems(items, "items", { history, find: (id) => store.issuedItem(id), seal, warnings });
  return { read, warnings: warnings.all };
}

/** @throws ApiError 404 */
function placeOf(items: readonly ConversationItem[], id: string): number {
  const place = items.findIndex(({ item }) => item.id === id);
  if (place >= 0) return place;
  throw new ApiError(404, `Item with id '${id}' not found.`, { code: "item_not_found" });
}

function listOf(items: readonly ConversationItem[]): object {
  const data = items.flatMap(({ item }) => listedItem(item));
  return { object: "list", data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more: false };
}
