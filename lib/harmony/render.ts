import { invalidArgument } from "../errors.js";
import { refuseUnknown } from "../options.js";
import { tokenizer } from "../tokenizer/tokenizer.js";
import {
  type CheckedMessage,
  type Content,
  type Conversation,
  type Message,
  type Role,
  readConversation,
  readMessage,
  readRole,
} from "./message.js";
import { readJson } from "./raw-json.js";
import { declaresFunctions, developerText, systemText } from "./system-text.js";
import { constrainMarker, formatTokens } from "./tokens.js";

/**
 * Conversations as token ids. Every string goes through ordinary encoding in a run of its own, and control tokens are
 * written by id, so what a user or a tool says cannot close its message or open another.
 */

export interface RenderOptions {
  /**
   * Leave out analysis before the first `final` message when the last assistant message is `final` (default true).
   * This is the reference's rule; `chat-messages.ts` has the stricter one that the model was trained with.
   */
  autoDropAnalysis?: boolean;
}

/**
 * All messages, as they are.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation
 */
export function renderConversation(conversation: Conversation, options: RenderOptions = {}): Uint32Array {
  return renderAll(readConversation(conversation), options).finish();
}

/**
 * All messages, then `<|start|>` and the role that speaks next: the prompt of a completion.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation or role
 */
export function renderConversationForCompletion(
  conversation: Conversation,
  nextRole: Role = "assistant",
  options: RenderOptions = {},
): Uint32Array {
  const role = readRole(nextRole, "nextRole");
  const out = renderAll(readConversation(conversation), options);
  out.control(formatTokens.start);
  out.text(role);
  return out.finish();
}

/**
 * All messages; if the last one is the assistant's `final`, it ends with `<|return|>`, as a model must learn to end it.
 * @throws GptOssError INVALID_ARGUMENT on a malformed conversation
 */
export function renderConversationForTraining(conversation: Conversation, options: RenderOptions = {}): Uint32Array {
  const messages = readConversation(conversation);
  const tokens = renderAll(messages, options).finish();
  const last = messages.at(-1);
  if (last?.role === "assistant" && last.channel === "final") tokens[tokens.length - 1] = formatTokens.return;
  return tokens;
}

/**
 * One message (an object or its JSON text) from `<|start|>` to its closing token.
 * @throws GptOssError INVALID_ARGUMENT on a malformed message
 */
export function renderMessage(message: Message | string, options: RenderOptions = {}): Uint32Array {
  dropsAnalysis(options);
  const value: unknown = typeof message === "string" ? readJson(message, "message") : message;
  const checked = readMessage(value, "message");
  const out = new TokenWriter();
  writeMessage(out, checked, declaresFunctions([checked]));
  return out.finish();
}

class TokenWriter {
  private readonly runs: ArrayLike<number>[] = [];
  private length = 0;

  control(token: number): void {
    this.append([token]);
  }

  text(text: string): void {
    if (text !== "") this.append(tokenizer.encode(text));
  }

  finish(): Uint32Array {
    const tokens = new Uint32Array(this.length);
    let at = 0;
    for (const run of this.runs) {
      tokens.set(run, at);
      at += run.length;
    }
    return tokens;
  }

  private append(run: ArrayLike<number>): void {
    this.runs.push(run);
    this.length += run.length;
  }
}

function renderAll(messages: readonly CheckedMessage[], options: RenderOptions): TokenWriter {
  const hasFunctionTools = declaresFunctions(messages);
  const kept = dropsAnalysis(options) ? withoutEarlyAnalysis(messages) : messages;
  const out = new TokenWriter();
  for (const message of kept) writeMessage(out, message, hasFunctionTools);
  return out;
}

const renderOptionNames = new Set(["autoDropAnalysis"]);

function dropsAnalysis(options: RenderOptions): boolean {
  refuseUnknown("rendering", options, renderOptionNames);
  const drop = options.autoDropAnalysis ?? true;
  if (typeof drop !== "boolean") throw invalidArgument("autoDropAnalysis", "a boolean", drop);
  return drop;
}

function withoutEarlyAnalysis(messages: readonly CheckedMessage[]): readonly CheckedMessage[] {
  const lastAssistant = messages.findLast((message) => message.role === "assistant");
  if (lastAssistant?.channel !== "final") return messages;
  const firstFinal = messages.findIndex((message) => message.channel === "final");
  return messages.filter((message, index) => index >= firstFinal || message.channel !== "analysis");
}

function writeMessage(out: TokenWriter, message: CheckedMessage, hasFunctionTools: boolean): void {
  out.control(formatTokens.start);
  writeHeader(out, message);
  out.control(formatTokens.message);
  for (const part of message.content) out.text(contentText(part, hasFunctionTools));
  const isCall = message.role === "assistant" && message.recipient !== null;
  out.control(isCall ? formatTokens.call : formatTokens.end);
}

/** Author, recipient, channel, content type. The model itself writes the channel first; history has this order. */
function writeHeader(out: TokenWriter, message: CheckedMessage): void {
  if (message.role === "tool") {
    out.text(message.name ?? "");
  } else {
    out.text(message.role);
    if (message.name !== null) out.text(`:${message.name}`);
  }
  if (message.recipient !== null && message.recipient !== "all") out.text(` to=${message.recipient}`);
  if (message.channel !== null) {
    out.control(formatTokens.channel);
    out.text(message.channel);
  }
  if (message.contentType?.startsWith(constrainMarker)) {
    out.text(" ");
    out.control(formatTokens.constrain);
    out.text(message.contentType.slice(constrainMarker.length));
  } else if (message.contentType !== null) {
    out.text(` ${message.contentType}`);
  }
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
