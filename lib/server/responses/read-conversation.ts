import { InputWarnings } from "../bodies/input-warnings.js";
import { existingConversation, withoutOrphans } from "../conversations/stored.js";
import { ApiError } from "../http/errors.js";
import type { Warning } from "../http/warnings.js";
import type { Tenant } from "../tenants/tenant.js";
import type { ConversationItem } from "./conversation.js";
import { readInput } from "./input.js";
import { conversationOf, type ResponseBody } from "./request.js";
import { existing } from "./retrieval.js";
import type { ResponseStore } from "./store.js";
import type { StoredResponse } from "./stored.js";

/** The conversation that a request continues. */
export interface Conversation {
  tenant: Tenant;
  /** The stored conversation that gets the input and the output. Null: there is none. */
  id: string | null;
  /** Its earlier items, and the input. */
  items: ConversationItem[];
  input: readonly ConversationItem[];
  /** The day of its first turn. */
  date: string;
  /** What the input has and the model does not get. */
  warnings: readonly Warning[];
}

/** @throws ApiError that names the field */
export async function readConversation(body: ResponseBody, tenant: Tenant, clock: () => Date): Promise<Conversation> {
  const { responses: store, seal } = tenant;
  const id = conversationOf(body);
  const { history, date } = earlier(body, id, store) ?? { history: [], date: clock().toISOString().slice(0, 10) };
  const warnings = new InputWarnings();
  const input = await readInput(body.input, { history, find: (id) => store.issuedItem(id), seal, warnings });
  return { tenant, id, items: [...history, ...input], input, date, warnings: warnings.all };
}

/** What came before, in a conversation or in a response. @throws ApiError */
function earlier(
  { previous_response_id: previousId }: ResponseBody,
  id: string | null,
  store: ResponseStore,
): { history: ConversationItem[]; date: string } | null {
  if (id !== null) {
    const { items, date } = existingConversation(store, id, "conversation");
    return { history: withoutOrphans(items), date };
  }
  if (!previousId) return null;
  const { context, output, date } = finished(existing(store, previousId, "previous_response_id"));
  return { history: [...context, ...output], date };
}

/** @throws ApiError 409: clients of OpenAI's API try again then */
function finished(stored: StoredResponse): StoredResponse {
  if (!stored.work?.isRunning) return stored;
  throw new ApiError(409, `Response with id '${stored.response.id}' is still in progress.`, {
    param: "previous_response_id",
    code: "response_in_progress",
    retryAfter: 1,
  });
}
