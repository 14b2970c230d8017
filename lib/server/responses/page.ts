import { invalid } from "../bodies/refusals.js";
import type { ConversationItem } from "./conversation.js";
import { listedItem } from "./listed-item.js";

/** One page of items, as they are listed, with OpenAI's cursors. The default order is newest first. */
export function page(all: readonly ConversationItem[], query: Readonly<Record<string, unknown>>): object {
  const items = all.flatMap(({ item }) => listedItem(item));
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
  const limit = value === undefined ? 20 : typeof value === "string" && /^\d{1,3}$/.test(value) ? Number(value) : 0;
  if (limit < 1 || limit > 100) throw invalid("limit", "an integer in [1, 100]", value);
  return limit;
}
