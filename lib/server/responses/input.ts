import type { ChatMessage } from "../../chat/messages.js";
import { Breather } from "../../common/breather.js";
import { contentText } from "../bodies/content-parts.js";
import { calledName, isObject } from "../bodies/fields.js";
import type { InputWarnings } from "../bodies/input-warnings.js";
import { invalid, optionalString, requiredName, requiredString } from "../bodies/refusals.js";
import { outputText } from "../bodies/tool-output.js";
import { ApiError } from "../http/errors.js";
import { customArguments, modelName } from "../turn/client-tool.js";
import { type ConversationItem, called, conversationItem, newId, said, thought, tooled } from "./conversation.js";
import { isHosted, isHostedCall, readHosted } from "./hosted-items.js";
import type { ReasoningSeal } from "./reasoning-seal.js";

/** Items of a request's `input`: they are checked, and converted to messages for the model. */

type Item = Record<string, unknown>;

/** Item types that an assistant writes. While such items follow, the assistant's turn goes on. */
const assistantTypes: ReadonlySet<string> = new Set(["reasoning", "function_call", "custom_tool_call"]);

/** Of items that are not hosted tools'. */
const statuses: ReadonlySet<string> = new Set(["in_progress", "completed", "incomplete"]);

/** The data that reading an input needs. */
export interface InputContext {
  /** The earlier items of the conversation: the input may answer calls in them. */
  history: readonly ConversationItem[];
  /** Finds an item of a stored response by its id. */
  find: (id: string) => ConversationItem | undefined;
  /** Opens the reasoning that this server sealed. */
  seal: ReasoningSeal;
  warnings: InputWarnings;
}

const foreignReasoning =
  "reasoning was sealed elsewhere and cannot be read; its content or summary is read, if it has one";

/** Number of items to read before the event loop gets a turn. */
const sliceOfItems = 256;

/** @throws ApiError that names the item and field */
export async function readInput(input: unknown, context: InputContext): Promise<ConversationItem[]> {
  if (input === undefined || input === null) return [];
  if (typeof input === "string") {
    return input === "" ? [] : [readMessage({ role: "user", content: input }, "input", "final")];
  }
  if (!Array.isArray(input)) throw invalid("input", "a string or an array of items", input);
  return readItems(input, "input", context);
}

/**
 * @param at the field that has the items
 * @throws ApiError that names the item and field
 */
export function readItems(items: readonly unknown[], at: string, context: InputContext): Promise<ConversationItem[]> {
  return new InputReader(items, at, context).read();
}

class InputReader {
  /** The items, with their indexes in the input. */
  readonly #items: { item: Item; index: number }[] = [];
  readonly #at: string;
  readonly #context: InputContext;
  /** Ids of the calls so far. */
  readonly #calls = new Set<string>();

  constructor(input: readonly unknown[], at: string, context: InputContext) {
    this.#at = at;
    for (const [index, item] of input.entries()) {
      if (item === undefined) continue; // beyond the context
      if (!isObject(item)) throw invalid(`${at}[${index}]`, "an item", item);
      this.#items.push({ item, index });
    }
    this.#context = context;
    for (const known of context.history) this.#register(known);
  }

  async read(): Promise<ConversationItem[]> {
    const all: ConversationItem[] = [];
    // Backwards, because the items that follow decide whether an assistant's message is its final answer.
    let goesOn = false;
    const channels = new Map<number, "commentary" | "final">();
    const breather = new Breather();
    for (const { item, index } of this.#items.toReversed()) {
      if (channels.size % sliceOfItems === sliceOfItems - 1) await breather.rest();
      const type = typeOf(item, `${this.#at}[${index}]`);
      const isAssistants = assistantTypes.has(type) || (type === "message" && item.role === "assistant");
      channels.set(index, goesOn ? "commentary" : "final");
      if (isHostedCall(type)) goesOn = true;
      else if (!isHosted(type)) goesOn = isAssistants;
    }
    for (const { item, index } of this.#items) {
      const isSealed = typeof item.encrypted_content === "string";
      if (isSealed || all.length % sliceOfItems === sliceOfItems - 1) await breather.rest();
      const read = this.#read(item, `${this.#at}[${index}]`, channels.get(index)!);
      this.#register(read);
      all.push(read);
    }
    return all;
  }

  #read(item: Item, param: string, channel: "commentary" | "final"): ConversationItem {
    const type = typeOf(item, param);
    switch (type) {
      case "message":
        return readMessage(item, param, channel);
      case "reasoning":
        return identified(item, type, param, thought(this.#reasoning(item, param)));
      case "function_call":
        return this.#call(item, type, param, requiredString(item.arguments, `${param}.arguments`));
      case "custom_tool_call":
        return this.#call(item, type, param, customArguments(requiredString(item.input, `${param}.input`)));
      case "function_call_output":
      case "custom_tool_call_output":
        return this.#output(item, type, param);
      case "item_reference":
        return this.#reference(item, param);
      default:
        if (isHosted(type)) return this.#hosted(item, type, param);
        throw new ApiError(400, `Items of type '${type}' are not supported.`, {
          param: `${param}.type`,
          code: "invalid_value",
        });
    }
  }

  #call(item: Item, type: string, param: string, argumentsText: string): ConversationItem {
    const name = requiredString(item.name, `${param}.name`);
    if (!calledName.test(name)) throw invalid(`${param}.name`, "the name of a function", name);
    const namespace = optionalString(item.namespace, `${param}.namespace`);
    const offered = modelName(namespace, name);
    if (namespace === "" || !calledName.test(offered)) {
      throw invalid(`${param}.namespace`, "the name of a namespace", namespace);
    }
    const callId = requiredName(item.call_id, `${param}.call_id`);
    return identified(item, type, param, called(callId, offered, argumentsText));
  }

  #output(item: Item, type: string, param: string): ConversationItem {
    const callId = requiredName(item.call_id, `${param}.call_id`);
    if (!this.#calls.has(callId)) throw invalid(`${param}.call_id`, "the call_id of an earlier call", callId);
    const content = outputText(item.output, `${param}.output`, this.#context.warnings);
    return identified(item, type, param, tooled(callId, content));
  }

  /** Ciphertext of another server is no error: a client may have begun the conversation there. */
  #reasoning(item: Item, param: string): string {
    const plain = reasoningText(item, param);
    const sealed = optionalString(item.encrypted_content, `${param}.encrypted_content`);
    if (!sealed) return plain;
    const { seal, warnings } = this.#context;
    const opened = seal.open(sealed);
    if (opened === null) warnings.add(`${param}.encrypted_content`, foreignReasoning);
    return opened ?? plain;
  }

  #hosted(item: Item, type: string, param: string): ConversationItem {
    const read = readHosted(item, type, param, this.#calls);
    if (read === null) this.#context.warnings.add(param, `items of type '${type}' are passed over`);
    return identified(item, type, param, read?.message ?? null, read?.result);
  }

  #reference(item: Item, param: string): ConversationItem {
    const id = requiredName(item.id, `${param}.id`);
    const found = this.#context.find(id);
    if (found !== undefined) return found;
    throw new ApiError(404, `Item with id '${id}' not found.`, { param: `${param}.id`, code: "item_not_found" });
  }

  #register({ message }: ConversationItem): void {
    if (message === null || !("tool_calls" in message)) return;
    for (const { id } of message.tool_calls ?? []) if (id !== undefined) this.#calls.add(id);
  }
}

function typeOf(item: Item, param: string): string {
  const { type } = item;
  if (type === undefined || type === null) {
    if (item.role === undefined && typeof item.id === "string") return "item_reference";
    return "message";
  }
  return requiredString(type, `${param}.type`);
}

/** Gives the item its id from the client, or a new one. */
function identified(
  item: Item,
  type: string,
  param: string,
  message: ChatMessage | null,
  result: ChatMessage | null = null,
): ConversationItem {
  const id = optionalString(item.id, `${param}.id`);
  const status = optionalString(item.status, `${param}.status`);
  if (status !== null && !isHosted(type) && !statuses.has(status)) {
    throw invalid(`${param}.status`, `one of ${[...statuses].join(", ")}`, status);
  }
  return conversationItem({ ...item, type, id: id || newId(type) }, message, { issued: !id, result });
}

function readMessage(item: Item, param: string, channel: "commentary" | "final"): ConversationItem {
  const { role } = item;
  if (role !== "user" && role !== "assistant" && role !== "system" && role !== "developer") {
    throw invalid(`${param}.role`, "one of user, assistant, system, developer", role);
  }
  const text = contentText(item.content, `${param}.content`);
  const message: ChatMessage =
    role === "assistant" ? said(text, phaseOf(item, param) ?? channel) : { role, content: text };
  const partType = role === "assistant" ? "output_text" : "input_text";
  const content = typeof item.content === "string" ? [{ type: partType, text }] : item.content;
  return identified({ ...item, content }, "message", param, message);
}

/** The channel that an assistant's message names. Null: the items after it tell the channel. */
function phaseOf({ phase }: Item, param: string): "commentary" | "final" | null {
  if (phase === undefined || phase === null) return null;
  if (phase === "commentary") return "commentary";
  if (phase === "final_answer") return "final";
  throw invalid(`${param}.phase`, "commentary or final_answer", phase);
}

/** The text of a reasoning item, or its summary if a client kept only that. */
function reasoningText(item: Item, param: string): string {
  const content = reasoningParts(item.content, `${param}.content`);
  const summary = reasoningParts(item.summary, `${param}.summary`);
  return (content.length > 0 ? content : summary).join("\n");
}

function reasoningParts(value: unknown, param: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(param, "an array of text parts", value);
  return value.map((part: unknown, index) => {
    if (!isObject(part)) throw invalid(`${param}[${index}]`, "a text part", part);
    return requiredString(part.text, `${param}[${index}].text`);
  });
}
