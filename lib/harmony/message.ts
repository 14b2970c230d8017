import { plainCopy } from "../common/given-values.js";
import { isJsonObject, member, members, readJson } from "../common/raw-json.js";
import type { Steps } from "../common/steps.js";
import { invalidArgument } from "../errors.js";

/** The canonical shape of a harmony message, and the reader that checks one wherever it comes from. */

export const roles = ["system", "developer", "user", "assistant", "tool"] as const;
/** Who speaks. */
export type Role = (typeof roles)[number];

/** How much the model reasons before it answers. */
export type ReasoningEffort = "low" | "medium" | "high";

/** A text. */
export interface TextContent {
  /** Which content it is. */
  type: "text";
  /** The text. */
  text: string;
}

/** A tool that the model can call. */
export interface ToolDescription {
  /** Name of the tool within its namespace. */
  name: string;
  /** What it does, for the model to read. */
  description: string;
  /** JSON Schema of the arguments; absent or null: the tool takes none. */
  parameters?: unknown;
}

/** Tools under one name. */
export interface ToolNamespace {
  /** Stands before the name of each tool, for example `functions`. */
  name: string;
  /** What the tools have in common, for the model to read. */
  description?: string | null;
  /** The tools. */
  tools: ToolDescription[];
}

/** Namespaces by their names. */
export type ToolNamespaces = Record<string, ToolNamespace>;

/** The channels that the model can write on. */
export interface ChannelConfig {
  /** Their names. */
  valid_channels: string[];
  /** Whether each message must name one. */
  channel_required: boolean;
}

/** Fields that are absent or null are left out of the text; `systemMessage()` is the one that knows defaults. */
export interface SystemContent {
  /** Which content it is. */
  type: "system_content";
  /** Who the model is, in one sentence. */
  model_identity?: string | null;
  /** How much the model reasons. */
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

/** What the developer says: instructions and tools. */
export interface DeveloperContent {
  /** Which content it is. */
  type: "developer_content";
  /** What others call the system prompt. */
  instructions?: string | null;
  /** Tools that the model can call, by namespace. */
  tools?: ToolNamespaces | null;
}

/** A part of a message. */
export type Content = TextContent | SystemContent | DeveloperContent;

/** A message of the harmony format. Absent fields and null are the same. */
export interface Message {
  /** Who speaks. */
  role: Role;
  /** Name of a tool (`functions.get_weather`), which it must have, or of a participant. */
  name?: string | null;
  /** A text, or parts that are joined without a separator. */
  content: string | Content[];
  /** "analysis", "commentary" or "final". */
  channel?: string | null;
  /** To whom it is addressed: a tool for a call, "assistant" for the result of one. */
  recipient?: string | null;
  /** Type of the content, for example `<|constrain|>json`. */
  content_type?: string | null;
  /** Id of a tool call, so that a later tool result can name it; never rendered. */
  id?: string | null;
}

/** A conversation as an object. */
export interface ConversationObject {
  /** Its messages, in order. */
  messages: readonly Message[];
}

/** `{ messages }`, the array itself, or the JSON text of either. */
export type Conversation = ConversationObject | readonly Message[] | string;

/** A message after checking: every field present, content always a list. */
export interface CheckedMessage {
  role: Role;
  name: string | null;
  content: Content[];
  channel: string | null;
  recipient: string | null;
  contentType: string | null;
}

/** Messages that one step is long enough for. */
export const messagesOfStep = 2048;

/**
 * In steps of some milliseconds; the first has read all of the caller's values.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the field, what was expected there and what came.
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

/** @throws GptOssError INVALID_ARGUMENT that names the field, what was expected there and what came. */
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

/** The text of a message, parts joined without a separator; system and developer contents have none. */
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
