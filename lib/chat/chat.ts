import { plainCopy } from "../common/given-values.js";
import { EventLog } from "../generation/event-log.js";
import type { Acceptance, FinishReason, PositionLogprobs, RelaxedSchema, Usage } from "../generation/results.js";
import { ConversationRenderer } from "../harmony/conversation-renderer.js";
import type { Message } from "../harmony/message.js";
import type { ParsedDelta } from "../harmony/recovering-parser.js";
import { AnswerParts, type ToolCall } from "./answer-parts.js";
import { aboutChatOption } from "./field-names.js";
import type { ChatMessage } from "./messages.js";
import { type ChatOptions, type CheckedChat, checkChatOptions } from "./options.js";
import { type PromptRequest, renderPrompt, renderPromptAsync, type TurnMemory, type TurnPrompt } from "./prompt.js";
import { beginTurn, type Turn, type TurnEngine } from "./turn.js";
import type { PartHeader, TurnEvent } from "./turn-event.js";

export type { ToolCall } from "./answer-parts.js";
export type { ChatMessage } from "./messages.js";
export type { ChatOptions } from "./options.js";

/** The whole answer of a chat. */
export interface ChatAnswer {
  /** All messages that the model wrote, in order. Append them to the conversation to continue it. */
  messages: Message[];
  /** Text of the analysis channel: the model's reasoning, not meant for end users. */
  reasoning: string;
  /** Text for the user. */
  content: string;
  /** Calls of functions, in order. */
  toolCalls: ToolCall[];
  /** The value of `content`, when `responseFormat` asks for JSON and the answer is complete. */
  parsed?: unknown;
  /** For each of `messages`, the tokens of its text in order, when `logprobs` asks for them. */
  logprobs?: PositionLogprobs[][];
  /**
   * Schemas that cannot be compiled and do not constrain the answer: `null` for the format, else the name of the tool.
   */
  relaxed: RelaxedSchema[];
  /**
   * "stop" also where a stop string ended the answer, or where the model began a message in another role. "length"
   * wherever the limit cut something: then the last message is not all that the model would have written, even if its
   * JSON is whole.
   */
  finishReason: FinishReason;
  /** Tokens of the request. */
  usage: Usage;
}

/** A piece of a message. `logprobs`, when requested: one entry for each token that ends in `text`. */
export type ChatDelta = ParsedDelta & { logprobs?: PositionLogprobs[] };

/** A complete message. `logprobs`, when requested: the tokens of its text, without control tokens and header. */
export interface ChatMessageEvent {
  /** The kind of event. */
  type: "message";
  /** The message. */
  message: Message;
  /** The tokens of its text, when requested. */
  logprobs?: PositionLogprobs[];
}

/** An event of a chat: a piece of a message, a complete message, or the end. */
export type ChatEvent = ChatDelta | ChatMessageEvent | { type: "done"; finishReason: FinishReason; usage: Usage };

/** The memory of `Engine.chat`. All engines of this thread share it. */
const memory: TurnMemory = { renderer: new ConversationRenderer(), reasoning: null };

/** The prompt of a chat together with its checked options. */
export interface ChatPrompt extends TurnPrompt {
  chat: CheckedChat;
}

/**
 * Returns the tokens of a conversation up to and including `<|start|>assistant`, and the scope of its answer.
 *
 * @throws GptOssError INVALID_ARGUMENT, CONTEXT_OVERFLOW
 */
export function renderChat(messages: readonly ChatMessage[], options: ChatOptions, contextLength?: number): ChatPrompt {
  const chat = checkChatOptions(options);
  return { ...renderPrompt(memory, promptOf(messages, chat, contextLength)), chat };
}

/** Encodes the conversation on another thread and caches the tokens, so that `renderChat` finds them. */
export async function prepareChat(
  messages: readonly ChatMessage[],
  options: ChatOptions,
  contextLength?: number,
): Promise<void> {
  const chat = checkChatOptions(options);
  await renderPromptAsync(memory, promptOf(messages, chat, contextLength), chat.generate.signal);
}

function promptOf(
  messages: readonly ChatMessage[],
  { conversation, history, format, generate }: CheckedChat,
  contextLength: number | undefined,
): PromptRequest {
  const given = plainCopy("messages", messages);
  return { messages: given, conversation, history, format, cacheSalt: generate.cacheSalt, contextLength };
}

/**
 * Answers a conversation.
 *
 * @throws GptOssError as `renderChat` and `Engine.generate` do
 */
export function startChat(engine: TurnEngine, messages: readonly ChatMessage[], options: ChatOptions): ChatRun {
  const { chat, ...prompt } = renderChat(messages, options, engine.info.limits.contextLength);
  const renamed = (error: unknown) => aboutChatOption(error, chat, prompt.tools);
  try {
    return new ChatRun(beginTurn(engine, memory, prompt, chat), chat, renamed);
  } catch (error) {
    throw renamed(error);
  }
}

/**
 * One answer in progress: an AsyncIterable of its events, with `result` for the whole answer. It cancels as Generation
 * does, and it also pauses while a reader is too far behind. `ChoiceReader` interprets the tokens of the model.
 */
export class ChatRun implements AsyncIterable<ChatEvent> {
  /** The whole answer. Rejects with the error that ended it, or with the reason of an abort. */
  readonly result: Promise<ChatAnswer>;
  /** The tokens of the prompt. */
  readonly promptTokens: Uint32Array;
  readonly #turn: Turn;
  readonly #chat: CheckedChat;
  readonly #accepted: Promise<Acceptance>;
  readonly #parts = new AnswerParts();
  /** The log probabilities of each message, as far as they were reported. */
  readonly #logprobs: PositionLogprobs[][] = [];
  #header: PartHeader | null = null;
  #end: Pick<ChatAnswer, "finishReason" | "usage"> | null = null;
  readonly #log = new EventLog<ChatEvent>([], (held) => this.#turn.hold(held));

  /** Made by `startChat`. `renamed` renames the field of an error to the option that it concerns. */
  constructor(turn: Turn, chat: CheckedChat, renamed: (error: unknown) => unknown) {
    const rethrow = (error: unknown): never => {
      throw renamed(error);
    };
    this.#turn = turn;
    this.#chat = chat;
    this.promptTokens = turn.promptTokens;
    this.#accepted = turn.accepted.catch(rethrow);
    this.#accepted.catch(() => {}); // a caller who never asks for it gets the failure from `result`
    this.result = this.#run(renamed);
    this.result.catch(() => {}); // a caller who only iterates gets the failure there
  }

  /** Resolves before the first token, with the relaxed schemas, like `Generation.accepted`. */
  get accepted(): Promise<Acceptance> {
    return this.#accepted;
  }

  /**
   * Stops the answer. `result` resolves with the part written so far. No effect after the end.
   *
   * @example
   * ```ts
   * run.cancel();
   * ```
   */
  cancel(): void {
    this.#turn.cancel();
  }

  /** Returns the events as they arrive. */
  [Symbol.asyncIterator](): AsyncGenerator<ChatEvent, void, undefined> {
    return this.#log.read(() => this.cancel());
  }

  async #run(renamed: (error: unknown) => unknown): Promise<ChatAnswer> {
    try {
      for await (const events of this.#turn.batches()) {
        for (const event of events) this.#accept(event);
      }
      const { relaxed } = await this.#accepted;
      const end = this.#end!;
      this.#log.push({ type: "done", ...end });
      this.#log.end();
      return this.#answer(relaxed, end);
    } catch (error) {
      const reason = renamed(error);
      this.#log.fail(reason);
      throw reason;
    }
  }

  #accept(event: TurnEvent): void {
    this.#parts.accept(event);
    switch (event.type) {
      case "part-start":
        this.#header = event.header;
        this.#logprobs.push([]);
        break;
      case "part-delta": {
        const logprobs = event.tokens.map(({ token: { token, logprob, top = [] } }) => ({ token, logprob, top }));
        this.#logprobs.at(-1)!.push(...logprobs);
        const { text } = event;
        this.#log.push({ type: "delta", role: "assistant", ...this.#header!, text, ...this.#told(logprobs) });
        break;
      }
      case "part-end":
        this.#log.push({ type: "message", message: event.message, ...this.#told(this.#logprobs.at(-1)!) });
        break;
      case "choice-end": {
        const { finishReason, usage } = event;
        const { promptTokens, cachedTokens, completionTokens } = usage;
        this.#end = {
          finishReason: finishReason === "tool_calls" ? "stop" : finishReason,
          usage: { promptTokens, cachedTokens, completionTokens },
        };
      }
    }
  }

  #told(logprobs: PositionLogprobs[]): { logprobs?: PositionLogprobs[] } {
    return this.#chat.logprobs === "none" ? {} : { logprobs };
  }

  #answer(relaxed: RelaxedSchema[], end: Pick<ChatAnswer, "finishReason" | "usage">): ChatAnswer {
    const { messages, reasoning, content, toolCalls } = this.#parts;
    const parsed = this.#chat.format === null || end.finishReason !== "stop" ? undefined : jsonOf(content);
    return {
      ...{ messages, reasoning, content, toolCalls },
      ...(parsed !== undefined && { parsed }),
      ...(this.#chat.logprobs !== "none" && { logprobs: this.#logprobs }),
      relaxed,
      ...end,
    };
  }
}

/** Returns undefined for a text that is not JSON. This happens when the model called a tool instead of answering. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
