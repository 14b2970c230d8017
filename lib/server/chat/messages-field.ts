import type { ChatMessage, ChatToolCall, OpenAIMessage } from "../../chat/messages.js";
import { contentText } from "../bodies/content-parts.js";
import { calledName, isObject } from "../bodies/fields.js";
import type { InputWarnings } from "../bodies/input-warnings.js";
import { outputText } from "../bodies/tool-output.js";
import { badRequest } from "../http/error-response.js";
import { customArguments } from "../turn/client-tool.js";

/** `messages` of the Chat Completions API, in every spelling that clients use, converted for the engine. */

type Fields = Readonly<Record<string, unknown>>;

export const messagesField = {
  type: "array",
  minItems: 1,
  items: {
    type: "object",
    required: ["role"],
    properties: { role: { enum: ["system", "developer", "user", "assistant", "tool", "function"] } },
  },
};

/**
 * @param warnings gets what the messages have and the model cannot read
 * @throws ApiError that names the field
 */
export function readMessages(messages: readonly Fields[], warnings: InputWarnings): ChatMessage[] {
  const callIds = new Set<string>();
  return messages.map((message, index) => {
    const at = `messages[${index}]`;
    const read = readMessage(message, at, warnings);
    for (const { id } of read.tool_calls ?? []) if (id !== undefined) callIds.add(id);
    if (read.tool_call_id !== undefined && !callIds.has(read.tool_call_id)) {
      const id = JSON.stringify(read.tool_call_id);
      throw badRequest(`${at}.tool_call_id`, `${at}.tool_call_id is ${id}, but no earlier call has this id`);
    }
    return read;
  });
}

function readMessage(message: Fields, at: string, warnings: InputWarnings): OpenAIMessage {
  const role = message.role as OpenAIMessage["role"] | "function";
  const isAbsent = message.content === null || message.content === undefined;
  const isResult = role === "tool" || role === "function";
  const read = (text: unknown, place: string) =>
    isResult ? outputText(text, place, warnings) : contentText(text, place);
  const content = isAbsent ? null : read(message.content, `${at}.content`);
  const name = optionalText(message.name, `${at}.name`);
  if (role === "assistant") return readAssistant(message, content, at);
  if (content === null) throw badRequest(`${at}.content`, `${at}.content must be text in a message of this role`);
  if (role === "user") return { role, content, ...(name && { name }) };
  if (role === "system" || role === "developer") return { role, content };

  const id = optionalText(message.tool_call_id, `${at}.tool_call_id`);
  // The legacy role has no id: it names the function whose result it is.
  if (role === "tool" && id) return { role, content, tool_call_id: id };
  if (name) {
    checkCalled(name, `${at}.name`);
    return { role: "tool", content, name };
  }
  const missing = role === "tool" ? "tool_call_id" : "name";
  throw badRequest(`${at}.${missing}`, `${at}.${missing} is required: it names the call that this message answers`);
}

function readAssistant(message: Fields, content: string | null, at: string): OpenAIMessage {
  const calls = readCalls(message, at);
  const refusal = optionalText(message.refusal, `${at}.refusal`);
  const reasoning = readReasoning(message, at);
  return {
    role: "assistant",
    content: content ?? refusal,
    ...(reasoning && { reasoning }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

/** The assistant's reasoning. Clients use every one of these names. */
function readReasoning(message: Fields, at: string): string | null {
  for (const key of ["reasoning", "reasoning_content", "thinking"]) {
    const text = optionalText(message[key], `${at}.${key}`);
    if (text) return text;
  }
  const details = message.reasoning_details;
  if (!Array.isArray(details)) return null;
  const texts = details.map((detail: unknown) => ((detail ?? {}) as Fields).text);
  return texts.filter((text) => typeof text === "string").join("") || null;
}

function readCalls(message: Fields, at: string): ChatToolCall[] {
  const { tool_calls: calls, function_call: legacy } = message;
  if (legacy !== undefined && legacy !== null) return [readFunction(legacy, `${at}.function_call`)];
  if (calls === undefined || calls === null) return [];
  if (!Array.isArray(calls)) throw badRequest(`${at}.tool_calls`, `${at}.tool_calls must be an array`);
  return calls.map((call: unknown, index) => {
    const place = `${at}.tool_calls[${index}]`;
    const { id, type, function: called, custom } = (call ?? {}) as Fields;
    const known = optionalText(id, `${place}.id`);
    const read = type === "custom" ? readCustom(custom, `${place}.custom`) : readFunction(called, `${place}.function`);
    return { ...(known && { id: known }), ...read };
  });
}

/** The call of a custom tool, as the model wrote it. */
function readCustom(called: unknown, at: string): ChatToolCall {
  const { name, input } = (called ?? {}) as Fields;
  checkCalled(name, `${at}.name`);
  if (typeof input !== "string") throw badRequest(`${at}.input`, `${at}.input must be a string`);
  return { type: "function", function: { name, arguments: customArguments(input) } };
}

function readFunction(called: unknown, at: string): ChatToolCall {
  const { name, arguments: given } = (called ?? {}) as Fields;
  checkCalled(name, `${at}.name`);
  // Some clients send a call without arguments back with an empty text.
  const written = given === undefined || given === null || given === "" ? "{}" : given;
  if (typeof written !== "string" && !isObject(written)) {
    throw badRequest(`${at}.arguments`, `${at}.arguments must be a JSON text`);
  }
  return { type: "function", function: { name, arguments: written } };
}

function checkCalled(name: unknown, at: string): asserts name is string {
  if (typeof name === "string" && calledName.test(name)) return;
  throw badRequest(at, `${at} must be a function's name`);
}

function optionalText(value: unknown, at: string): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  throw badRequest(at, `${at} must be a string`);
}
