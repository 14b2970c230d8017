import type { ChatMessage } from "../../chat/messages.js";
import { calledName, isObject } from "../bodies/fields.js";
import { invalid, optionalString, requiredName, requiredString } from "../bodies/refusals.js";
import { imageNote } from "../bodies/tool-output.js";
import { called, newId, tooled } from "./conversation.js";

/**
 * Items of OpenAI's hosted tools and services. This model cannot have made them. It reads calls and results that are
 * text, as those of a function with the name of the tool. The conversation continues without the others.
 */

type Item = Readonly<Record<string, unknown>>;

/** What the model reads of an item. */
export interface HostedReading {
  message: ChatMessage;
  /** The result, where the call's own item has it. */
  result?: ChatMessage;
}

/** @param calls ids of the calls so far; the output of another call says nothing */
type Reader = (item: Item, param: string, calls: ReadonlySet<string>) => HostedReading | null;

const callReaders: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ["mcp_call", readMcpCall],
  ["code_interpreter_call", readCodeInterpreterCall],
  ["file_search_call", readFileSearchCall],
  ["shell_call", (item, param) => readClientCall("shell", "action", item, param)],
  ["local_shell_call", (item, param) => readClientCall("local_shell", "action", item, param)],
  ["apply_patch_call", (item, param) => readClientCall("apply_patch", "operation", item, param)],
]);

const outputReaders: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ["shell_call_output", readShellOutput],
  ["local_shell_call_output", readLocalShellOutput],
  ["apply_patch_call_output", readPatchOutput],
]);

/** They hold images, ciphertext of another server, or tools that cannot be called here. */
const unread: ReadonlySet<string> = new Set([
  ...["web_search_call", "image_generation_call", "computer_call", "computer_call_output"],
  ...["mcp_list_tools", "mcp_approval_request", "mcp_approval_response"],
  ...["tool_search_call", "tool_search_output", "additional_tools"],
  ...["program", "program_output", "compaction", "compaction_trigger"],
]);

export function isHosted(type: string): boolean {
  return isHostedCall(type) || outputReaders.has(type) || unread.has(type);
}

/** Whether the assistant's turn goes on with it, as with the call of a function. */
export function isHostedCall(type: string): boolean {
  return callReaders.has(type);
}

/**
 * Returns null for an item that has nothing for the model.
 *
 * @throws ApiError that names the field
 */
export function readHosted(item: Item, type: string, param: string, calls: ReadonlySet<string>): HostedReading | null {
  const read = callReaders.get(type) ?? outputReaders.get(type);
  return read?.(item, param, calls) ?? null;
}

function readMcpCall(item: Item, param: string): HostedReading {
  const name = requiredString(item.name, `${param}.name`);
  if (!calledName.test(name)) throw invalid(`${param}.name`, "the name of a tool", name);
  const argumentsText = requiredString(item.arguments, `${param}.arguments`);
  const output = optionalString(item.output, `${param}.output`) ?? errorText(item.error);
  return finished(name, argumentsText, output);
}

/** Servers report an error as text or as an object. */
function errorText(error: unknown): string | null {
  if (error === undefined || error === null) return null;
  return typeof error === "string" ? error : JSON.stringify(error);
}

function readCodeInterpreterCall(item: Item, param: string): HostedReading | null {
  const code = optionalString(item.code, `${param}.code`);
  const outputs = optionalList(item.outputs, `${param}.outputs`);
  if (code === null) return null;
  const texts = outputs?.map((output, index) => {
    const at = `${param}.outputs[${index}]`;
    if (isObject(output) && output.type === "logs") return requiredString(output.logs, `${at}.logs`);
    if (isObject(output) && output.type === "image") return imageNote;
    throw invalid(at, "logs or an image", output);
  });
  return finished("code_interpreter", JSON.stringify({ code }), texts?.join("\n") ?? null);
}

/** Without results, which OpenAI sends only when asked, the queries alone say nothing. */
function readFileSearchCall(item: Item, param: string): HostedReading | null {
  const queries = optionalList(item.queries, `${param}.queries`) ?? [];
  for (const [index, query] of queries.entries()) requiredString(query, `${param}.queries[${index}]`);
  const results = optionalList(item.results, `${param}.results`) ?? [];
  const found = results.map((result, index) => {
    if (!isObject(result)) throw invalid(`${param}.results[${index}]`, "a result", result);
    return { filename: result.filename, text: result.text };
  });
  if (found.length === 0) return null;
  return finished("file_search", JSON.stringify({ queries }), JSON.stringify(found));
}

/** A call that the client ran: its output is another item. */
function readClientCall(name: string, field: string, item: Item, param: string): HostedReading {
  const callId = requiredName(item.call_id, `${param}.call_id`);
  const does = item[field];
  if (!isObject(does)) throw invalid(`${param}.${field}`, "an object", does);
  return { message: called(callId, name, JSON.stringify(does)) };
}

function readShellOutput(item: Item, param: string, calls: ReadonlySet<string>): HostedReading | null {
  const callId = requiredName(item.call_id, `${param}.call_id`);
  const { output } = item;
  if (typeof output !== "string" && !Array.isArray(output)) {
    throw invalid(`${param}.output`, "an array of outputs", output);
  }
  return answered(callId, typeof output === "string" ? output : JSON.stringify(output), calls);
}

/** OpenAI's reference gives it the id of its call as `id`, its guide as `call_id`. */
function readLocalShellOutput(item: Item, param: string, calls: ReadonlySet<string>): HostedReading | null {
  const callId = optionalString(item.call_id, `${param}.call_id`) ?? optionalString(item.id, `${param}.id`) ?? "";
  return answered(callId, requiredString(item.output, `${param}.output`), calls);
}

function readPatchOutput(item: Item, param: string, calls: ReadonlySet<string>): HostedReading | null {
  const callId = requiredName(item.call_id, `${param}.call_id`);
  const status = optionalString(item.status, `${param}.status`);
  return answered(callId, optionalString(item.output, `${param}.output`) || status || "", calls);
}

function answered(callId: string, output: string, calls: ReadonlySet<string>): HostedReading | null {
  return calls.has(callId) ? { message: tooled(callId, output) } : null;
}

/** A call with its result. The id is new: the item's own may be that of another call. */
function finished(name: string, argumentsText: string, output: string | null): HostedReading {
  const callId = newId("call");
  const message = called(callId, name, argumentsText);
  return output === null ? { message } : { message, result: tooled(callId, output) };
}

function optionalList(value: unknown, param: string): unknown[] | null {
  if (value === undefined || value === null) return null;
  if (!Array.isArray(value)) throw invalid(param, "an array", value);
  return value;
}
