import { types } from "node:util";
import { isJsonObject, member } from "../common/raw-json.js";
import { finished, type Steps } from "../common/steps.js";
import { invalidArgument } from "../errors.js";
import { defaultIdentity, defaultKnowledgeCutoff, functionCallMessage, toolMessage } from "../harmony/builders.js";
import {
  type DeveloperContent,
  type Message,
  type ReasoningEffort,
  readDeveloperContent,
  readMessage,
  readSystemContent,
  roles,
  type SystemContent,
  type ToolNamespaces,
} from "../harmony/message.js";
import { checkToolName, type FunctionTool, functionsNamespace, functionTools } from "../harmony/tools.js";

/** Converts chat messages of OpenAI's API into the conversation format that gpt-oss was trained on. */

export type TextPart = { type: "text" | "input_text" | "output_text"; text: string };

export interface ChatToolCall {
  id?: string;
  type?: "function";
  function?: { name: string; arguments: string | object };
  name?: string;
  arguments?: string | object;
}

/** A message of the Chat Completions API. */
export interface OpenAIMessage {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content?: string | readonly TextPart[] | null;
  name?: string;
  /** The reasoning of the assistant. All three names are in use. */
  reasoning?: string | null;
  reasoning_content?: string | null;
  thinking?: string | null;
  refusal?: string | null;
  tool_calls?: readonly ChatToolCall[] | null;
  /** The call that a tool message answers. Without it, `name` identifies the function. */
  tool_call_id?: string;
}

/** The two kinds may be mixed: messages of an earlier answer can follow messages in OpenAI's format. */
export type ChatMessage = OpenAIMessage | Message;

export interface ChatConversationOptions {
  /** Default "medium". */
  reasoningEffort?: ReasoningEffort | undefined;
  /** Functions that the model may call. */
  tools?: readonly FunctionTool[] | undefined;
  /** Text placed before the instructions of leading system and developer messages. */
  developerInstructions?: string | undefined;
  /** `YYYY-MM-DD`, or a Date whose UTC day counts. Null: no date. Default: today in UTC. */
  currentDate?: string | Date | null | undefined;
  modelIdentity?: string | undefined;
  knowledgeCutoff?: string | undefined;
}

export const chatConversationOptionNames = [
  "reasoningEffort",
  "tools",
  "developerInstructions",
  "currentDate",
  "modelIdentity",
  "knowledgeCutoff",
] as const satisfies readonly (keyof ChatConversationOptions)[];

/**
 * Converts chat messages into a harmony conversation: one system message, the developer message with instructions and
 * tools, then the turns. Render it with `autoDropAnalysis: "past"`, as the model was trained.
 *
 * A `system_content` in the first message is kept. Only the given options change it.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the message and field
 */
export function chatConversation(
  messages: readonly ChatMessage[],
  options: ChatConversationOptions = {},
): { messages: Message[] } {
  return finished(makeConversation(messages, options));
}

/** The number of messages in one step. A call takes several times as long as a text. */
const messagesOfStep = 512;

/** `chatConversation` in steps of some milliseconds. */
export function* makeConversation(
  messages: readonly ChatMessage[],
  options: ChatConversationOptions,
): Steps<{ messages: Message[] }> {
  if (!Array.isArray(messages)) throw invalidArgument("messages", "an array of messages", messages);
  for (const [index, message] of messages.entries()) {
    if (index % messagesOfStep === 0) yield;
    checkShape(message, `messages[${index}]`);
  }

  const body: readonly ChatMessage[] = messages;
  const own = isSystemContent(body[0]) ? 1 : 0;
  const system = systemContent(body.slice(0, own), options);
  const lead = body.slice(own).findIndex((message) => message.role !== "system" && message.role !== "developer");
  const turnsAt = lead < 0 ? body.length : own + lead;

  const developer = developerContent(body.slice(own, turnsAt), own, options);
  const turns = new Turns();
  for (let index = turnsAt; index < body.length; index++) {
    if (index % messagesOfStep === 0) yield;
    turns.add(body[index]!, `messages[${index}]`);
  }

  const conversation: Message[] = [{ role: "system", content: [system] }];
  if (developer !== null) conversation.push({ role: "developer", content: [developer] });
  return { messages: [...conversation, ...turns.messages] };
}

function checkShape(message: unknown, name: string): void {
  if (!isJsonObject(message)) throw invalidArgument(name, "a message", message);
  const role = member(message, "role");
  if (!roles.some((known) => known === role)) throw invalidArgument(`${name}.role`, `one of ${roles.join(", ")}`, role);
}

// --- the system message ---

function isSystemContent(message: ChatMessage | undefined): boolean {
  return message?.role === "system" && hasPart(message, "system_content");
}

function hasPart(message: ChatMessage, type: string): boolean {
  return Array.isArray(message.content) && message.content.some((part: unknown) => member(part, "type") === type);
}

function systemContent(own: readonly ChatMessage[], options: ChatConversationOptions): SystemContent {
  const given = {
    ...(options.reasoningEffort !== undefined && { reasoning_effort: checkEffort(options.reasoningEffort) }),
    ...(options.currentDate !== undefined && { conversation_start_date: checkDate(options.currentDate) }),
    ...(options.modelIdentity !== undefined && { model_identity: checkString("modelIdentity", options.modelIdentity) }),
    ...(options.knowledgeCutoff !== undefined && {
      knowledge_cutoff: checkString("knowledgeCutoff", options.knowledgeCutoff),
    }),
  };
  const [message] = own;
  if (message !== undefined) {
    const { content } = message;
    if (content?.length !== 1) throw invalidArgument("messages[0].content", "one system_content", content);
    return { ...readSystemContent(content[0], "messages[0].content[0]"), ...given };
  }
  return {
    type: "system_content",
    model_identity: defaultIdentity,
    knowledge_cutoff: defaultKnowledgeCutoff,
    conversation_start_date: utcDay(new Date()),
    reasoning_effort: "medium",
    channel_config: { valid_channels: ["analysis", "commentary", "final"], channel_required: true },
    ...given,
  };
}

function checkEffort(value: unknown): ReasoningEffort {
  if (value !== "low" && value !== "medium" && value !== "high") {
    throw invalidArgument("reasoningEffort", "one of low, medium, high", value);
  }
  return value;
}

function checkDate(value: unknown): string | null {
  if (value === null) return null;
  if (types.isDate(value) && !Number.isNaN(value.getTime())) return utcDay(value);
  if (typeof value === "string" && /^\d{4}-\d{2}-\d{2}$/.test(value)) return value;
  throw invalidArgument("currentDate", "YYYY-MM-DD, a valid Date or null", value);
}

function utcDay(date: Date): string {
  return date.toISOString().slice(0, 10);
}

function checkString(name: string, value: unknown): string {
  if (typeof value !== "string") throw invalidArgument(name, "a string", value);
  return value;
}

// --- developer messages ---

/**
 * Joins the instructions of the option and of all leading messages by blank lines, with every tool. Null when empty.
 */
function developerContent(
  leading: readonly ChatMessage[],
  at: number,
  options: ChatConversationOptions,
): DeveloperContent | null {
  const instructions: string[] = [];
  let tools: ToolNamespaces = {};
  if (options.developerInstructions !== undefined) {
    instructions.push(checkString("developerInstructions", options.developerInstructions));
  }
  if (options.tools !== undefined) tools = merged(tools, { [functionsNamespace]: functionTools(options.tools) });
  for (const [index, message] of leading.entries()) {
    for (const part of developerParts(message, `messages[${at + index}]`)) {
      if (typeof part.instructions === "string") instructions.push(part.instructions);
      tools = merged(tools, part.tools ?? {});
    }
  }
  const present = Object.fromEntries(
    Object.entries(tools).filter(([key, { tools }]) => key !== functionsNamespace || tools.length > 0),
  );
  const hasTools = Object.keys(present).length > 0;
  if (instructions.length === 0 && !hasTools) return null;
  return {
    type: "developer_content",
    instructions: instructions.length > 0 ? instructions.join("\n\n") : null,
    tools: hasTools ? present : null,
  };
}

/** Returns the content of a system or developer message as developer contents. */
function developerParts(message: ChatMessage, name: string): DeveloperContent[] {
  if (hasPart(message, "system_content")) {
    throw invalidArgument(`${name}.content`, "system_content only in the first message", "system_content");
  }
  if (!hasPart(message, "developer_content")) {
    return [{ type: "developer_content", instructions: requiredText(message, name) }];
  }
  const parts = message.content as readonly unknown[];
  return parts.map((part, index) => {
    if (member(part, "type") === "developer_content") return readDeveloperContent(part, `${name}.content[${index}]`);
    return { type: "developer_content", instructions: partText(part, `${name}.content[${index}]`) };
  });
}

/** Merges the namespaces. Functions of the same namespace follow one another. */
function merged(a: ToolNamespaces, b: ToolNamespaces): ToolNamespaces {
  const all = new Map(Object.entries(a)); // any name is allowed, "constructor" as well
  for (const [key, namespace] of Object.entries(b)) {
    const before = all.get(key);
    all.set(key, before === undefined ? namespace : { ...namespace, tools: [...before.tools, ...namespace.tools] });
  }
  return Object.fromEntries(all);
}

// --- turns ---

/** Builds the conversation after its instructions, message by message, and remembers the function of each call id. */
class Turns {
  readonly messages: Message[] = [];
  private readonly callNames = new Map<string, string>();

  add(message: ChatMessage, name: string): void {
    switch (message.role) {
      case "system":
      case "developer":
        for (const part of developerParts(message, name)) this.messages.push({ role: "developer", content: [part] });
        break;
      case "user":
        this.addUser(message, name);
        break;
      case "assistant":
        this.addAssistant(message, name);
        break;
      case "tool":
        this.addTool(message, name);
        break;
    }
  }

  private addUser(message: ChatMessage, name: string): void {
    const author = optionalString(message, "name", name);
    const text = requiredText(message, name);
    this.messages.push({ role: "user", ...(author !== null && { name: author }), content: [{ type: "text", text }] });
  }

  private addAssistant(message: ChatMessage, name: string): void {
    if (isHarmony(message)) {
      this.addHarmony(message, name);
      return;
    }
    const before = this.messages.length;
    const thought = thoughtText(message, name);
    const text = contentText(message, name) ?? optionalString(message, "refusal", name);
    const calls = readToolCalls(member(message, "tool_calls"), `${name}.tool_calls`);

    if (thought) this.addText("analysis", thought);
    if (calls.length > 0) {
      if (text) this.addText("commentary", text);
      for (const call of calls) this.addCall(call);
    } else if (text !== null) {
      this.addText("final", text);
    }
    if (this.messages.length === before) {
      throw invalidArgument(
        `${name}.content`,
        "text, reasoning or tool_calls in an assistant message",
        message.content,
      );
    }
  }

  private addText(channel: string, text: string): void {
    this.messages.push({ role: "assistant", channel, content: [{ type: "text", text }] });
  }

  private addCall(call: CheckedCall): void {
    if (call.id !== null) this.callNames.set(call.id, `${functionsNamespace}.${call.name}`);
    this.messages.push(functionCallMessage(call.name, call.arguments));
  }

  /** Adds a message that is already in harmony form, and remembers the id of its call. */
  private addHarmony(message: ChatMessage, name: string): void {
    const id = optionalString(message, "id", name);
    const recipient = optionalString(message, "recipient", name);
    if (id !== null && recipient !== null) this.callNames.set(id, recipient);
    this.messages.push(canonical(message, name));
  }

  private addTool(message: ChatMessage, name: string): void {
    if (isHarmony(message)) {
      this.messages.push(canonical(message, name));
      return;
    }
    const author = this.toolAuthor(message, name);
    this.messages.push(toolMessage({ name: author, content: requiredText(message, name) }));
  }

  private toolAuthor(message: ChatMessage, name: string): string {
    const id = optionalString(message, "tool_call_id", name);
    if (id !== null) {
      const author = this.callNames.get(id);
      if (author === undefined) throw invalidArgument(`${name}.tool_call_id`, "the id of an earlier tool call", id);
      return author;
    }
    const place = `${name}.name`;
    const author = checkToolName(member(message, "name"), `${place} (there is no tool_call_id)`, place);
    return author.startsWith(`${functionsNamespace}.`) ? author : `${functionsNamespace}.${author}`;
  }
}

/** True for a harmony message: OpenAI's messages have none of these fields. */
function isHarmony(message: ChatMessage): message is Message {
  return ["channel", "recipient", "content_type"].some((key) => typeof member(message, key) === "string");
}

function canonical(message: ChatMessage, name: string): Message {
  const { contentType, ...rest } = readMessage(message, name);
  return { ...rest, content_type: contentType };
}

function thoughtText(message: ChatMessage, name: string): string | null {
  for (const key of ["reasoning", "reasoning_content", "thinking"]) {
    const text = optionalString(message, key, name);
    if (text !== null) return text;
  }
  return null;
}

interface CheckedCall {
  id: string | null;
  name: string;
  arguments: string;
}

function readToolCalls(value: unknown, name: string): CheckedCall[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalidArgument(name, "an array of tool calls", value);
  return value.map((call, index) => readToolCall(call, `${name}[${index}]`));
}

function readToolCall(call: unknown, name: string): CheckedCall {
  if (!isJsonObject(call)) throw invalidArgument(name, "a tool call", call);
  const type = member(call, "type") ?? "function";
  if (type !== "function") throw invalidArgument(`${name}.type`, '"function"', type);
  const nested = member(call, "function");
  const target = nested === undefined ? call : nested;
  const place = nested === undefined ? name : `${name}.function`;
  return {
    id: optionalString(call, "id", name),
    name: checkToolName(member(target, "name"), `${place}.name`),
    arguments: argumentsText(member(target, "arguments"), `${place}.arguments`),
  };
}

/** JSON text stays as it was written, because the model may have written it. An object becomes JSON text. */
function argumentsText(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  if (value === undefined) return "{}";
  if (!isJsonObject(value)) throw invalidArgument(name, "JSON text or an object", value);
  return JSON.stringify(value);
}

// --- content ---

/** Returns the text of a message that must have one. */
function requiredText(message: ChatMessage, name: string): string {
  const text = contentText(message, name);
  if (text === null) throw invalidArgument(`${name}.content`, "a string or an array of text parts", message.content);
  return text;
}

/** Joins the text parts without a separator. Null when there is no content. */
function contentText(message: ChatMessage, name: string): string | null {
  const content: unknown = message.content;
  if (content === undefined || content === null) return null;
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw invalidArgument(`${name}.content`, "a string or an array of text parts", content);
  return content.map((part, index) => partText(part, `${name}.content[${index}]`)).join("");
}

function partText(part: unknown, name: string): string {
  const type = member(part, "type");
  if (type === "refusal") return checkString(`${name}.refusal`, member(part, "refusal"));
  if (type === "text" || type === "input_text" || type === "output_text") {
    return checkString(`${name}.text`, member(part, "text"));
  }
  throw invalidArgument(`${name}.type`, '"text" (gpt-oss reads text only, no images, audio or files)', type);
}

function optionalString(message: unknown, key: string, name: string): string | null {
  const value = member(message, key);
  if (value === undefined || value === null) return null;
  return checkString(`${name}.${key}`, value);
}
