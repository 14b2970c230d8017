import { ApiError } from "../http/errors.js";
import type { Warning } from "../http/warnings.js";
import type { Tenant } from "../tenants/tenant.js";
import type { ConversationItem } from "./conversation.js";
import { readInput } from "./input.js";
import { InputWarnings } from "./input-warnings.js";
import type { ResponseBody } from "./request.js";
import { existing } from "./retrieval.js";
import type { StoredResponse } from "./store.js";

/** The conversation that a request continues. */
export interface Conversation {
  tenant: Tenant;
  items: ConversationItem[];
  /** The day of its first turn. */
  date: string;
  /** What the input has and the model does not get. */
  warnings: readonly Warning[];
}

/** @throws ApiError that names the field */
export async function readConversation(
  { input, previous_response_id: previousId }: Pick<ResponseBody, "input" | "previous_response_id">,
  tenant: Tenant,
  clock: () => Date,
): Promise<Conversation> {
  const { responses: store, seal } = tenant;
  const previous = previousId ? finished(existing(store, previousId, "previous_response_id")) : null;
  const history = previous === null ? [] : [...previous.context, ...previous.output];
  const warnings = new InputWarnings();
  const read = await readInput(input, { history, find: (id) => store.issuedItem(id), seal, warnings });
  return {
    tenant,
    items: [...history, ...read],
    date: previous?.date ?? clock().toISOString().slice(0, 10),
    warnings: warnings.all,
  };
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
