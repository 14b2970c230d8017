import { readJson } from "../common/raw-json.js";
import { finished, type Steps } from "../common/steps.js";
import { readOptions } from "../common/unknown-option.js";
import { contextOverflow, invalidArgument } from "../errors.js";
import { leastTokens } from "../tokenizer/encode-within.js";
import { tokenizer } from "../tokenizer/tokenizer.js";
import {
  type CheckedMessage,
  type Content,
  type Conversation,
  type Message,
  messagesOfStep,
  type Role,
  readConversation,
  readMessage,
  readRole,
} from "./message.js";
import { declaresFunctions, developerText, systemText } from "./system-text.js";
import { constrainMarker, formatTokens } from "./tokens.js";

/**
 * Renders conversations as token ids. Every string is encoded separately as ordinary text, and control tokens are
 * written by id. So the text of a user or a tool cannot close its message or open another.
 */

/** Options that select the parts of a conversation to write, and their order. */
export interface RenderOptions {
  /**
   * The analysis to leave out. `true` (the default) is the reference's rule: when the last assistant message is
   * `final`, drop the analysis before the first `final` message. `"past"` is the rule of the model's training and of
   * `Engine.chat`: drop the analysis before the last `final` message. `false`: drop none.
   */
  autoDropAnalysis?: boolean | "past" | undefined;
  /**
   * The order in the header of an assistant's tool call: the recipient first, as the reference writes it (the default),
   * or the channel first, as the model writes it.
   */
  toolCallOrder?: "recipient-first" | "channel-first" | undefined;
}

/**
 * Renders all messages unchanged.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation
 *
 * @example
 * ```ts
 * const ids = renderConversation([userMessage("Hi"), assistantMessage("Hello!")]);
 * ```
 */
export function renderConversation(conversation: Conversation, options: RenderOptions = {}): Uint32Array {
  return joined(writtenMessages(conversation, options).map(encodeMessage));
}

/**
 * Renders the prompt of a completion: all messages, then `<|start|>` and the next role.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation or role
 *
 * @example
 * ```ts
 * const prompt = renderConversationForCompletion([systemMessage(), userMessage("Hi")]);
 * const { tokens } = await engine.generate(prompt, { stopTokens: stopTokensForAssistantActions() }).result;
 * ```
 */
export function renderConversationForCompletion(
  conversation: Conversation,
  nextRole: Role = "assistant",
  options: RenderOptions = {},
): Uint32Array {
  const opening = openingOf(readRole(nextRole, "nextRole"));
  return joined([...writtenMessages(conversation, options).map(encodeMessage), opening]);
}

/**
 * Renders all messages for training. A last `final` message of the assistant ends with `<|return|>`, so that the model
 * learns to stop.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation
 *
 * @example
 * ```ts
 * const ids = renderConversationForTraining([userMessage("Hi"), assistantMessage("Hello!")]);
 * ```
 */
export function renderConversationForTraining(conversation: Conversation, options: RenderOptions = {}): Uint32Array {
  const messages = writtenMessages(conversation, options);
  const tokens = joined(messages.map(encodeMessage));
  const last = messages.at(-1);
  if (last?.role === "assistant" && last.channel === "final") tokens[tokens.length - 1] = formatTokens.return;
  return tokens;
}

/**
 * Renders one message (an object or its JSON text) from `<|start|>` to its closing token.
 * @throws GptOssError INVALID_ARGUMENT on a malformed message
 *
 * @example
 * ```ts
 * const ids = renderMessage(userMessage("Hi")); // <|start|>user<|message|>Hi<|end|>
 * ```
 */
export function renderMessage(message: Message | string, options: RenderOptions = {}): Uint32Array {
  const { channelFirst } = checkOptions(options);
  const value: unknown = typeof message === "string" ? readJson(message, "message") : message;
  const checked = readMessage(value, "message");
  return encodeMessage(written(checked, declaresFunctions([checked]), channelFirst));
}

// --- from messages to their written form ---

/** A message in its written form. Its tokens depend on nothing else. */
export interface WrittenMessage extends Omit<CheckedMessage, "content"> {
  /** The text of each part of the content. */
  texts: string[];
  channelFirst: boolean;
}

/**
 * Returns the messages to render, in their order.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation or option, CONTEXT_OVERFLOW where their number and
 *   length already exceed `contextLength`
 */
export function writtenMessages(conversation: Conversation, options: RenderOptions): WrittenMessage[] {
  return finished(writeMessages(conversation, options, Number.POSITIVE_INFINITY));
}

/** Does the same in steps of some milliseconds. */
export function* writeMessages(
  conversation: Conversation,
  options: RenderOptions,
  contextLength: number,
): Steps<WrittenMessage[]> {
  const messages = yield* readConversation(conversation);
  yield;
  const { dropped, channelFirst } = checkOptions(options);
  const hasFunctionTools = declaresFunctions(messages);
  const kept = dropped(messages);
  // Checked before and after, because the text of tools is longer than their definitions.
  if (contextLength !== Number.POSITIVE_INFINITY) {
    const contents = kept.flatMap(({ content }) => content);
    refuseLong(contextLength, kept.length, contents.flatMap(saidBy));
    for (const text of contents.flatMap(toldOfTools)) refuseManyLines(contextLength, text);
  }
  const all: WrittenMessage[] = [];
  for (const message of kept) {
    if (all.length % messagesOfStep === 0) yield;
    all.push(written(message, hasFunctionTools, channelFirst));
  }
  const texts = all.flatMap((message) => message.texts);
  refuseLong(contextLength, all.length, texts);
  return all;
}

/** The minimum number of tokens of a message: `<|start|>`, `<|message|>` and the closing token. */
export const leastOfMessage = 3;

function refuseLong(contextLength: number, messages: number, texts: readonly string[]): void {
  const units = texts.reduce((sum, text) => sum + text.length, 0);
  const least = messages * leastOfMessage + leastTokens(units);
  if (least >= contextLength) throw contextOverflow(contextLength, null, "messages");
}

/** Each line of a description becomes a separate comment, and therefore at least one token. */
export function refuseManyLines(contextLength: number, text: string): void {
  let lines = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
    if (++lines >= contextLength) throw contextOverflow(contextLength, null, "messages");
  }
}

/** Returns the texts that will be part of a content. */
function saidBy(part: Content): string[] {
  if (part.type === "text") return [part.text];
  return [part.type === "developer_content" ? (part.instructions ?? "") : "", ...toldOfTools(part)];
}

function toldOfTools(part: Content): string[] {
  if (part.type === "text") return [];
  return Object.values(part.tools ?? {}).flatMap(({ description, tools }) => [
    description ?? "",
    ...tools.map((tool) => tool.description),
  ]);
}

type Dropping = (messages: readonly CheckedMessage[]) => readonly CheckedMessage[];

const renderOptionNames = new Set(["autoDropAnalysis", "toolCallOrder"]);

function checkOptions(options: RenderOptions): { dropped: Dropping; channelFirst: boolean } {
  const given = readOptions("rendering", options, renderOptionNames);
  const { autoDropAnalysis = true, toolCallOrder = "recipient-first" } = given;
  if (typeof autoDropAnalysis !== "boolean" && autoDropAnalysis !== "past") {
    throw invalidArgument("autoDropAnalysis", 'a boolean or "past"', autoDropAnalysis);
  }
  if (toolCallOrder !== "recipient-first" && toolCallOrder !== "channel-first") {
    throw invalidArgument("toolCallOrder", '"recipient-first" or "channel-first"', toolCallOrder);
  }
  const dropped =
    autoDropAnalysis === "past" ? withoutPastAnalysis : autoDropAnalysis ? withoutEarlyAnalysis : unchanged;
  return { dropped, channelFirst: toolCallOrder === "channel-first" };
}

function unchanged(messages: readonly CheckedMessage[]): readonly CheckedMessage[] {
  return messages;
}

/** The reference's rule. In a long chat it keeps the analysis after the first final answer. */
function withoutEarlyAnalysis(messages: readonly CheckedMessage[]): readonly CheckedMessage[] {
  const lastAssistant = messages.findLast((message) => message.role === "assistant");
  if (lastAssistant?.channel !== "final") return messages;
  const firstFinal = messages.findIndex((message) => message.channel === "final");
  return messages.filter((message, index) => index >= firstFinal || message.channel !== "analysis");
}

/** Keeps the analysis since the last final answer, because it belongs to the open turn. */
function withoutPastAnalysis(messages: readonly CheckedMessage[]): readonly CheckedMessage[] {
  const lastFinal = messages.findLastIndex((message) => message.role === "assistant" && message.channel === "final");
  return messages.filter((message, index) => index > lastFinal || message.channel !== "analysis");
}

function written(message: CheckedMessage, hasFunctionTools: boolean, channelFirst: boolean): WrittenMessage {
  const { content, ...header } = message;
  return { ...header, texts: content.map((part) => contentText(part, hasFunctionTools)), channelFirst };
}

function contentText(part: Content, hasFunctionTools: boolean): string {
  switch (part.type) {
    case "text":
      return part.text;
    case "system_content":
      return systemText(part, hasFunctionTools);
    case "developer_content":
      return developerText(part);
  }
}

// --- from the written form to tokens ---

/** A part of a message: a control token by id, or a text that is encoded separately. */
export type Part = number | string;

/** Returns the parts of one message from `<|start|>` to its closing token. */
export function partsOf(message: WrittenMessage): Part[] {
  const { texts } = message;
  return [formatTokens.start, ...headerOf(message), formatTokens.message, ...texts, closingToken(message)].filter(
    (part) => part !== "",
  );
}

/** Returns the tokens of one message from `<|start|>` to its closing token. */
export function encodeMessage(message: WrittenMessage): Uint32Array {
  return joined(partsOf(message).map((part) => (typeof part === "number" ? [part] : tokenizer.encode(part))));
}

/** `<|call|>` after an assistant message with a recipient, else `<|end|>`. */
export function closingToken(message: Pick<WrittenMessage, "role" | "recipient">): number {
  return message.role === "assistant" && message.recipient !== null ? formatTokens.call : formatTokens.end;
}

/** `<|start|>` and the role: the beginning of a header that a completion continues. */
export function openingOf(role: Role): Uint32Array {
  return joined([[formatTokens.start], tokenizer.encode(role)]);
}

export function joined(runs: readonly ArrayLike<number>[]): Uint32Array {
  const tokens = new Uint32Array(runs.reduce((length, run) => length + run.length, 0));
  let at = 0;
  for (const run of runs) {
    tokens.set(run, at);
    at += run.length;
  }
  return tokens;
}

/** Author, recipient, channel, content type. The channel precedes the recipient only for a call with `channelFirst`. */
function headerOf(message: WrittenMessage): Part[] {
  const { role, name, recipient, channel, contentType } = message;
  const author = role === "tool" ? [name ?? ""] : name === null ? [role] : [role, `:${name}`];
  const addressee = recipient === null || recipient === "all" ? [] : [` to=${recipient}`];
  const spoken = channel === null ? [] : [formatTokens.channel, channel];
  const middle = message.channelFirst && role === "assistant" ? [spoken, addressee] : [addressee, spoken];
  return [author, middle, typed(contentType)].flat(2);
}

function typed(contentType: string | null): Part[] {
  if (contentType === null) return [];
  if (!contentType.startsWith(constrainMarker)) return [` ${contentType}`];
  return [" ", formatTokens.constrain, contentType.slice(constrainMarker.length)];
}
