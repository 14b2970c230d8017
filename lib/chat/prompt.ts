import { Breather } from "../common/breather.js";
import { own, readFailure } from "../common/given-values.js";
import { finished, type Steps, unhurried } from "../common/steps.js";
import { contextOverflow } from "../errors.js";
import type { CompletionOptions, CompletionPrompt, ConversationRenderer } from "../harmony/conversation-renderer.js";
import type { Message } from "../harmony/message.js";
import { joined, refuseManyLines } from "../harmony/render.js";
import { formatTokens } from "../harmony/tokens.js";
import { encodeLong } from "../tokenizer/encode-within.js";
import { tokenizer } from "../tokenizer/tokenizer.js";
import { type DeclaredTools, declaredTools } from "./declared-tools.js";
import { type ChatConversationOptions, type ChatMessage, makeConversation } from "./messages.js";
import type { ReasoningMemory } from "./reasoning-memory.js";
import { type DescribedFormat, describeFormat } from "./response-format.js";

/** The prompt of a turn: converts a conversation into tokens, for `Engine.chat` and for the endpoints of a server. */

/**
 * Data that turns keep for later turns. The caller passes it in and owns it: `Engine.chat` has one for its thread, a
 * server has one for each tenant.
 */
export interface TurnMemory {
  /** The tokens of earlier messages. */
  readonly renderer: ConversationRenderer;
  /**
   * The reasoning before each call, put back where a client leaves it out. Null: nothing is put back. `Engine.chat` has
   * none: its answers contain the reasoning in `messages`, and reasoning that the caller removes stays out.
   */
  readonly reasoning: ReasoningMemory | null;
}

/** Which part of the history the model sees, and in which tokens. */
export type ChatHistoryOptions = Pick<CompletionOptions, "toolCallOrder" | "originalTokens"> & {
  /** Default "past": no analysis from before the last final answer; `true` is the reference's rule. */
  autoDropAnalysis?: CompletionOptions["autoDropAnalysis"];
};

/** The input of a prompt. */
export interface PromptRequest {
  messages: readonly ChatMessage[];
  conversation: ChatConversationOptions;
  history: ChatHistoryOptions;
  /** The format of the answer. It is described at the end of the developer message. */
  format: DescribedFormat | null;
  cacheSalt: string | undefined;
  /** The beginning of the assistant's final message, which the answer continues. Default: it begins anew. */
  continued?: string | undefined;
  /** The limit for the prompt and at least one token of the answer. Default: no limit. */
  contextLength: number | undefined;
}

export interface TurnPrompt extends CompletionPrompt {
  tools: DeclaredTools;
  /** The tokens of the message that the prompt leaves open, behind `<|start|>assistant`. Absent: there is none. */
  continued?: Uint32Array;
}

/**
 * Returns the tokens of a conversation up to and including `<|start|>assistant`, and the scope of its answer.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the message and field, CONTEXT_OVERFLOW
 */
export function renderPrompt(memory: TurnMemory, request: Omit<PromptRequest, "continued">): TurnPrompt {
  const conversation = finished(conversationOf(memory, request));
  const rendered = memory.renderer.renderForCompletion(conversation, "assistant", renderingOf(request));
  return { ...rendered, tools: declaredTools(conversation.messages, request.conversation.tools) };
}

/**
 * Does the same without blocking the event loop: in steps, and with long texts encoded on another thread. The tokens
 * are cached, so that `renderPrompt` finds them.
 *
 * @throws the errors of `renderPrompt`; the reason of an abort of `signal`
 */
export async function renderPromptAsync(
  memory: TurnMemory,
  request: PromptRequest,
  signal: AbortSignal | undefined,
): Promise<TurnPrompt> {
  const breather = new Breather();
  const conversation = await unhurried(conversationOf(memory, request), breather);
  await breather.rest();
  const rendering = { ...renderingOf(request), signal };
  const rendered = await memory.renderer.renderForCompletionAsync(conversation, "assistant", rendering);
  const tools = declaredTools(conversation.messages, request.conversation.tools);
  if (request.continued === undefined) return { ...rendered, tools };
  const { contextLength = Number.POSITIVE_INFINITY } = request;
  const header = [formatTokens.channel, ...tokenizer.encode("final"), formatTokens.message];
  const room = contextLength - 1 - rendered.tokens.length - header.length;
  const text = room < 0 ? null : await encodeLong(request.continued, room, { signal });
  if (text === null || text.length > room) throw contextOverflow(contextLength, null, "messages");
  const continued = joined([header, text]);
  return { ...rendered, tokens: joined([rendered.tokens, continued]), continued, tools };
}

function* conversationOf(
  { reasoning }: TurnMemory,
  { messages, conversation, format, contextLength = Number.POSITIVE_INFINITY }: PromptRequest,
): Steps<{ messages: Message[] }> {
  let made: { messages: Message[] };
  try {
    made = yield* makeConversation(reasoning?.restore(messages) ?? messages, conversation);
  } catch (cause) {
    throw readFailure("messages", cause); // a message may be an instance of a class of the caller
  }
  if (format !== null) {
    refuseManyLines(contextLength, format.description ?? "");
    describeFormat(made.messages, format);
  }
  own(made.messages);
  return made;
}

function renderingOf({ history, cacheSalt, contextLength }: PromptRequest): CompletionOptions {
  return { autoDropAnalysis: "past", ...history, cacheSalt, contextLength };
}
