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
  /** Everything the model wrote, message by message; append them to the conversation to go on. */
  messages: Message[];
  /** Text of the analysis channel: the model's reasoning, not meant for end users. */
  reasoning: string;
  /** Text for the user. */
  content: string;
  /** Calls of functions, in order. */
  toolCalls: ToolCall[];
  /** The value of `content`, when `responseFormat` asks for JSON and the answer is whole. */
  parsed?: unknown;
  /** Of each of `messages` the tokens of its text, in order, when `logprobs` asked for some. */
  logprobs?: PositionLogprobs[][];
  /** Schemas that could not be compiled, so that the answer was not held to them: of tools by name, null: of the format. */
  relaxed: RelaxedSchema[];
  /** "stop" also where a stop string ended it, or where the model went on to play somebody else. */
  finishReason: FinishReason;
  /** Tokens of the request. */
  usage: Usage;
}

/** A piece of a message. `logprobs`, when they were asked for: one for each token that ends in `text`. */
export type ChatDelta = ParsedDelta & { logprobs?: PositionLogprobs[] };

/** A message that is complete. `logprobs`, when they were asked for: those of its text, control tokens and header left out. */
export interface ChatMessageEvent {
  /** Which event it is. */
  type: "message";
  /** The message. */
  message: Message;
  /** Those of its text, when they were asked for. */
  logprobs?: PositionLogprobs[];
}

/** What happens in a chat: pieces of messages, messages that are complete, and at last the end. */
export type ChatEvent = ChatDelta | ChatMessageEvent | { type: "done"; finishReason: FinishReason; usage: Usage };

/** That of `Engine.chat`, for all engines of this thread. */
const memory: TurnMemory = { renderer: new ConversationRenderer(), reasoning: null };

/** What a chat asks the model. */
export interface ChatPrompt extends TurnPrompt {
  chat: CheckedChat;
}

/**
 * The tokens of a conversation up to and including `<|start|>assistant`, and where its answer belongs.
 *
 * @throws GptOssError INVALID_ARGUMENT, CONTEXT_OVERFLOW
 */
export function renderChat(messages: readonly ChatMessage[], options: ChatOptions, contextLength?: number): ChatPrompt {
  const chat = checkChatOptions(options);
  return { ...renderPrompt(memory, promptOf(messages, chat, contextLength)), chat };
}

/** The same on another thread; what it encodes, `renderChat` then knows. */
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
 * One answer that is being written: an AsyncIterable of what happens, and `result` for the whole. Cancels as Generation
 * does, and like it stops while a reader is too far behind. `ChoiceReader` says what the tokens of the model mean.
 */
export class ChatRun implements AsyncIterable<ChatEvent> {
  /** The whole answer. Rejects with the fault that ended it, or with the reason of an abort. */
  readonly result: Promise<ChatAnswer>;
  /** What the model was given. */
  readonly promptTokens: Uint32Array;
  readonly #turn: Turn;
  readonly #chat: CheckedChat;
  readonly #accepted: Promise<Acceptance>;
  readonly #parts = new AnswerParts();
  /** Of each message, as far as it is told. */
  readonly #logprobs: PositionLogprobs[][] = [];
  #header: PartHeader | null = null;
  #end: Pick<ChatAnswer, "finishReason" | "usage"> | null = null;
  readonly #log = new EventLog<ChatEvent>([], (held) => this.#turn.hold(held));

  /** Made by `startChat`. `renamed` gives an error the name of the option that it is about. */
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
    this.result.catch(() => {}); // a caller who only iterates hears of the failure there
  }

  /** Resolves before the first token, with the schemas that are relaxed; as that of a Generation. */
  get accepted(): Promise<Acceptance> {
    return this.#accepted;
  }

  /**
   * Stops the answer. `result` resolves with what there is. Without effect once it has ended.
   *
   * @example
   * ```ts
   * run.cancel();
   * ```
   */
  cancel(): void {
    this.#turn.cancel();
  }

  /** Events, as they come. */
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

/** Undefined: the text is no JSON, as when a tool was called instead of an answer. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
