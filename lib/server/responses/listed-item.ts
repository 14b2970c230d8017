/**
 * Items of an input as OpenAI's document lists them. A request may leave out members that the item of a list has, and
 * may write messages in the form of chat completions.
 */

type Item = { readonly type: string; readonly id: string } & Readonly<Record<string, unknown>>;
type Members = Readonly<Record<string, unknown>>;

const finished = { status: "completed" };
const searched = { execution: "server", call_id: null, ...finished };

/** The members that an item has where the request gives none, by type. */
const usual: ReadonlyMap<string, Members> = new Map<string, Members>([
  ["function_call", finished],
  ["function_call_output", finished],
  ["custom_tool_call", finished],
  ["custom_tool_call_output", finished],
  ["reasoning", { summary: [] }],
  ["computer_call_output", finished],
  ["tool_search_call", searched],
  ["tool_search_output", searched],
  ["shell_call", { environment: null, ...finished }],
  ["shell_call_output", { max_output_length: null, ...finished }],
]);

/** The members that are another member of the same item. */
const same: ReadonlyMap<string, readonly [name: string, from: string]> = new Map([
  ["local_shell_call_output", ["call_id", "id"]],
  ["mcp_approval_response", ["request_id", "approval_request_id"]],
]);

/** Returns no item for one that only a request can have. */
export function listedItem(item: Item): Item[] {
  if (item.type === "compaction_trigger") return [];
  if (item.type === "message") return [listedMessage(item)];
  const members: Record<string, unknown> = { ...usual.get(item.type) };
  const [name, from] = same.get(item.type) ?? [];
  if (name !== undefined && from !== undefined) members[name] = item[from];
  const listed = { ...item, ...missing(item, members) };
  return [item.type === "shell_call" ? { ...listed, action: listedAction(item.action as Members) } : listed];
}

function listedAction(action: Members): Members {
  return { ...action, ...missing(action, { timeout_ms: null, max_output_length: null }) };
}

const textTypes: ReadonlySet<unknown> = new Set(["text", "input_text", "output_text"]);

function listedMessage(item: Item): Item {
  const isAnswer = item.role === "assistant";
  const content = (item.content as readonly unknown[]).map((part) => {
    const members = typeof part === "string" ? { type: "text", text: part } : (part as Members);
    if (!textTypes.has(members.type)) return members;
    if (!isAnswer) return { ...members, type: "input_text" };
    const lists = { annotations: listOr(members.annotations), logprobs: listOr(members.logprobs) };
    return { ...members, type: "output_text", ...lists };
  });
  return { ...item, content, ...(isAnswer && missing(item, finished)) };
}

function listOr(value: unknown): unknown {
  return Array.isArray(value) ? value : [];
}

function missing(item: Members, members: Members): Members {
  return Object.fromEntries(Object.entries(members).filter(([name]) => (item[name] ?? null) === null));
}
