import { Breather } from "../common/breather.js";
import { own, readFailure } from "../common/given-values.js";
import { finished, type Steps, unhurried } from "../common/steps.js";
import type { CompletionOptions, CompletionPrompt, ConversationRenderer } from "../harmony/conversation-renderer.js";
import type { Message } from "../harmony/message.js";
import { refuseManyLines } from "../harmony/render.js";
import { type DeclaredTools, declaredTools } from "./declared-tools.js";
import { type ChatConversationOptions, type ChatMessage, makeConversation } from "./messages.js";
import type { ReasoningMemory } from "./reasoning-memory.js";
import { type DescribedFormat, describeFormat } from "./response-format.js";

/** The prompt of a turn: how a conversation becomes tokens, for `Engine.chat` and for the endpoints of a server. */

/**
 * What turns leave behind for those that follow. The caller hands it in and owns it: `Engine.chat` has one for its
 * thread, a server has one for each tenant.
 */
export interface TurnMemory {
  /** What was said and written before, in tokens. */
  readonly renderer: ConversationRenderer;
  /**
   * What was thought before a call, put back where a client leaves it out. Null: nothing is put back. `Engine.chat` has
   * none: the `messages` of its answers have the reasoning, and what the caller takes out stays out.
   */
  readonly reasoning: ReasoningMemory | null;
}

/** What of the history the model sees, and in which tokens. */
export type ChatHistoryOptions = Pick<CompletionOptions, "toolCallOrder" | "originalTokens"> & {
  /** Default "past": no analysis from before the last final answer; `true` is the reference's rule. */
  autoDropAnalysis?: CompletionOptions["autoDropAnalysis"];
};

/** What the model is to read. */
export interface PromptRequest {
  messages: readonly ChatMessage[];
  conversation: ChatConversationOptions;
  history: ChatHistoryOptions;
  /** Format of the answer: described at the end of the developer message. */
  format: DescribedFormat | null;
  cacheSalt: string | undefined;
  /** Of the prompt and at least one token of the answer. Default: any. */
  contextLength: number | undefined;
}

export interface TurnPrompt extends CompletionPrompt {
  tools: DeclaredTools;
}

/**
 * The tokens of a conversation up to and including `<|start|>assistant`, and where its answer belongs.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the message and field, CONTEXT_OVERFLOW
 */
export function renderPrompt(memory: TurnMemory, request: PromptRequest): TurnPrompt {
  const conversation = finished(conversationOf(memory, request));
  const rendered = memory.renderer.renderForCompletion(conversation, "assistant", renderingOf(request));
  return { ...rendered, tools: declaredTools(conversation.messages, request.conversation.tools) };
}

/**
 * The same without holding up the event loop: in steps, and with long texts encoded on another thread. What it encodes,
 * `renderPrompt` then knows.
 *
 * @throws what `renderPrompt` does; the reason of an abort of `signal`
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
  return { ...rendered, tools: declaredTools(conversation.messages, request.conversation.tools) };
}

function* conversationOf(
  { reasoning }: TurnMemory,
  { messages, conversation, format, contextLength = Number.POSITIVE_INFINITY }: PromptRequest,
): Steps<{ messages: Message[] }> {
  let made: { messages: Message[] };
  try {
    made = yield* makeConversation(reasoning?.restore(messages) ?? messages, conversation);
  } catch (cause) {
    throw readFailure("messages", cause); // of a message that is an instance of a class of the caller's
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
