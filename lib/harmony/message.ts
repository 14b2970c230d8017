import { plainCopy } from "../common/given-values.js";
import { isJsonObject, member, members, readJson } from "../common/raw-json.js";
import type { Steps } from "../common/steps.js";
import { invalidArgument } from "../errors.js";

/** The canonical shape of a harmony message, and the reader that checks messages from any source. */

export const roles = ["system", "developer", "user", "assistant", "tool"] as const;
/** The role of a message's author. */
export type Role = (typeof roles)[number];

/** The amount of reasoning before the answer. */
export type ReasoningEffort = "low" | "medium" | "high";

/** A text content. */
export interface TextContent {
  /** The kind of content. */
  type: "text";
  /** The text. */
  text: string;
}

/** A tool that the model can call. */
export interface ToolDescription {
  /** The name of the tool within its namespace. */
  name: string;
  /** The purpose of the tool. The model reads it. */
  description: string;
  /** JSON Schema of the arguments. Absent or null: the tool takes none. */
  parameters?: unknown;
}

/** Tools of one namespace. */
export interface ToolNamespace {
  /** The prefix of each tool name, for example `functions`. */
  name: string;
  /** The common purpose of the tools. The model reads it. */
  description?: string | null;
  /** The tools. */
  tools: ToolDescription[];
}

/** Namespaces by their names. */
export type ToolNamespaces = Record<string, ToolNamespace>;

/** The channels that the model can write on. */
export interface ChannelConfig {
  /** The names of the channels. */
  valid_channels: string[];
  /** Whether each message must name a channel. */
  channel_required: boolean;
}

/**
 * The content of the system message. Absent or null fields are left out of the text. `systemMessage()` adds defaults.
 */
export interface SystemContent {
  /** The kind of content. */
  type: "system_content";
  /** The identity of the model, in one sentence. */
  model_identity?: string | null;
  /** The amount of reasoning. */
  reasoning_effort?: "Low" | "Medium" | "High" | ReasoningEffort | null;
  /** `YYYY-MM-DD`. */
  conversation_start_date?: string | null;
  /** `YYYY-MM`. */
  knowledge_cutoff?: string | null;
  /** The channels that the model can write on. */
  channel_config?: ChannelConfig | null;
  /** Built-in tools, by namespace. */
  tools?: ToolNamespaces | null;
}

/** The content of a developer message: instructions and tools. */
export interface DeveloperContent {
  /** The kind of content. */
  type: "developer_content";
  /** Other formats call this the system prompt. */
  instructions?: string | null;
  /** Tools that the model can call, by namespace. */
  tools?: ToolNamespaces | null;
}

/** A part of a message. */
export type Content = TextContent | SystemContent | DeveloperContent;

/** A message of the harmony format. Absent fields and null are the same. */
export interface Message {
  /** The role of the author. */
  role: Role;
  /** The name of a tool (`functions.get_weather`), required for role "tool", or of a participant. */
  name?: string | null;
  /** A text, or parts that are joined without a separator. */
  content: string | Content[];
  /** "analysis", "commentary" or "final". */
  channel?: string | null;
  /** The addressee: a tool for a call, "assistant" for the result of a call. */
  recipient?: string | null;
  /** Type of the content, for example `<|constrain|>json`. */
  content_type?: string | null;
  /** The id of a tool call, so that a later tool result can refer to it. Never rendered. */
  id?: string | null;
}

/** A conversation as an object. */
export interface ConversationObject {
  /** Its messages, in order. */
  messages: readonly Message[];
}

/** `{ messages }`, the array itself, or the JSON text of either. */
export type Conversation = ConversationObject | readonly Message[] | string;

/** A message after checking: every field is present, and content is always a list. */
export interface CheckedMessage {
  role: Role;
  name: string | null;
  content: Content[];
  channel: string | null;
  recipient: string | null;
  contentType: string | null;
}

/** The number of messages in one step. */
export const messagesOfStep = 2048;

/**
 * Reads a conversation in steps of some milliseconds. The first step reads all of the caller's values.
 *
 * @throws GptOssError INVALID_ARGUMENT with the field, the expected value and the received value.
 */
export function* readConversation(conversation: unknown): Steps<CheckedMessage[]> {
  const value =
    typeof conversation === "string" ? readJson(conversation, "conversation") : plainCopy("conversation", conversation);
  const messages = Array.isArray(value) ? value : member(value, "messages");
  if (!Array.isArray(messages))
    throw invalidArgument("conversation", "{ messages }, an array of messages or JSON text", value);
  const read: CheckedMessage[] = [];
  for (const [index, message] of messages.entries()) {
    if (index % messagesOfStep === 0) yield;
    read.push(readMessage(message, `messages[${index}]`));
  }
  return read;
}

/** @throws GptOssError INVALID_ARGUMENT with the field, the expected value and the received value. */
export function readMessage(value: unknown, name: string): CheckedMessage {
  if (!isJsonObject(value)) throw invalidArgument(name, "a harmony message", value);
  const role = readRole(member(value, "role"), `${name}.role`);
  const author = optionalString(value, "name", name);
  if (role === "tool" && author === null) {
    throw invalidArgument(`${name}.name`, 'the name of the tool, for example "functions.get_weather",', undefined);
  }
  return {
    role,
    name: author,
    content: readContents(member(value, "content"), role, `${name}.content`),
    channel: optionalString(value, "channel", name),
    recipient: optionalString(value, "recipient", name),
    contentType: optionalString(value, "content_type", name),
  };
}

/** @throws GptOssError INVALID_ARGUMENT unless it is one of the five roles. */
export function readRole(value: unknown, name: string): Role {
  const role = roles.find((known) => known === value);
  if (role === undefined) throw invalidArgument(name, `one of ${roles.join(", ")}`, value);
  return role;
}

/** Returns the text of a message, with parts joined without a separator. System and developer contents have no text. */
export function messageText(message: Pick<Message, "content">): string {
  if (typeof message.content === "string") return message.content;
  return message.content.map((part) => (part.type === "text" ? part.text : "")).join("");
}

function readContents(value: unknown, role: Role, name: string): Content[] {
  if (typeof value === "string") return [{ type: "text", text: value }];
  if (!Array.isArray(value)) throw invalidArgument(name, "a string or an array of parts", value);
  return value.map((part, index) => readContent(part, role, `${name}[${index}]`));
}

function readContent(part: unknown, role: Role, name: string): Content {
  const type = member(part, "type");
  switch (type) {
    case "text":
      return { type, text: requiredString(part, "text", name) };
    case "system_content":
      if (role !== "system")
        throw invalidArgument(name, "system_content only in a message of role system", `role ${role}`);
      return readSystemContent(part, name);
    case "developer_content":
      if (role !== "developer")
        throw invalidArgument(name, "developer_content only in a message of role developer", `role ${role}`);
      return readDeveloperContent(part, name);
    default:
      throw invalidArgument(`${name}.type`, '"text", "system_content" or "developer_content"', type);
  }
}

export function readSystemContent(part: unknown, name: string): SystemContent {
  return {
    type: "system_content",
    model_identity: optionalString(part, "model_identity", name),
    reasoning_effort: readEffort(member(part, "reasoning_effort"), `${name}.reasoning_effort`),
    conversation_start_date: optionalString(part, "conversation_start_date", name),
    knowledge_cutoff: optionalString(part, "knowledge_cutoff", name),
    channel_config: readChannels(member(part, "channel_config"), `${name}.channel_config`),
    tools: readNamespaces(member(part, "tools"), `${name}.tools`),
  };
}

export function readDeveloperContent(part: unknown, name: string): DeveloperContent {
  return {
    type: "developer_content",
    instructions: optionalString(part, "instructions", name),
    tools: readNamespaces(member(part, "tools"), `${name}.tools`),
  };
}

const efforts = ["low", "medium", "high"] as const;

function readEffort(value: unknown, name: string): ReasoningEffort | null {
  if (value === undefined || value === null) return null;
  const effort = efforts.find((known) => typeof value === "string" && known === value.toLowerCase());
  if (effort === undefined) throw invalidArgument(name, "one of low, medium, high", value);
  return effort;
}

function readChannels(value: unknown, name: string): ChannelConfig | null {
  if (value === undefined || value === null) return null;
  const channels = member(value, "valid_channels");
  if (!Array.isArray(channels) || !channels.every((channel) => typeof channel === "string")) {
    throw invalidArgument(`${name}.valid_channels`, "an array of strings", channels);
  }
  const required = member(value, "channel_required");
  if (typeof required !== "boolean") throw invalidArgument(`${name}.channel_required`, "a boolean", required);
  return { valid_channels: channels, channel_required: required };
}

function readNamespaces(value: unknown, name: string): ToolNamespaces | null {
  if (value === undefined || value === null) return null;
  if (!isJsonObject(value)) throw invalidArgument(name, "an object of tool namespaces", value);
  return Object.fromEntries(members(value).map(([key, item]) => [key, readNamespace(item, `${name}.${key}`)]));
}

function readNamespace(value: unknown, name: string): ToolNamespace {
  const tools = member(value, "tools");
  if (!Array.isArray(tools)) throw invalidArgument(`${name}.tools`, "an array of tools", tools);
  return {
    name: requiredString(value, "name", name),
    description: optionalString(value, "description", name),
    tools: tools.map((tool, index) => readTool(tool, `${name}.tools[${index}]`)),
  };
}

function readTool(value: unknown, name: string): ToolDescription {
  return {
    name: requiredString(value, "name", name),
    description: requiredString(value, "description", name),
    parameters: member(value, "parameters") ?? null,
  };
}

function requiredString(object: unknown, key: string, name: string): string {
  const value = member(object, key);
  if (typeof value !== "string") throw invalidArgument(`${name}.${key}`, "a string", value);
  return value;
}

function optionalString(object: unknown, key: string, name: string): string | null {
  const value = member(object, key);
  if (value === undefined || value === null) return null;
  if (typeof value !== "string") throw invalidArgument(`${name}.${key}`, "a string or null", value);
  return value;
}
