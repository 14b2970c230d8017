import { randomUUID } from "node:crypto";
import { plainCopy } from "../common/given-values.js";
import { EventLog } from "../generation/event-log.js";
import type { Generation } from "../generation/generation.js";
import type { Acceptance, FinishReason, PositionLogprobs, RelaxedSchema, Usage } from "../generation/results.js";
import { ConversationRenderer } from "../harmony/conversation-renderer.js";
import { type Message, messageText } from "../harmony/message.js";
import { calledTool } from "../harmony/recovering-parser.js";
import type { ChatMessage } from "./messages.js";
import { type ChatOptions, type CheckedChat, checkChatOptions } from "./options.js";
import { type PromptRequest, renderPrompt, renderPromptAsync, type TurnMemory, type TurnPrompt } from "./prompt.js";
import { type ChatDelta, type ChatMessageEvent, ChatReader } from "./reader.js";

export type { ChatMessage } from "./messages.js";
export type { ChatOptions } from "./options.js";

export interface ToolCall {
  id: string;
  /** Name of the function as it was declared, without the harmony namespace. */
  name: string;
  /** JSON text as the model wrote it; not checked. */
  arguments: string;
}

export interface ChatAnswer {
  /** Everything the model wrote, message by message; append them to the conversation to go on. */
  messages: Message[];
  /** Text of the analysis channel: the model's reasoning, not meant for end users. */
  reasoning: string;
  /** Text for the user. */
  content: string;
  toolCalls: ToolCall[];
  /** The value of `content`, when `responseFormat` asks for JSON and the answer is whole. */
  parsed?: unknown;
  /** Of each of `messages` the tokens of its text, in order, when `logprobs` asked for some. */
  logprobs?: PositionLogprobs[][];
  /** Schemas that could not be compiled, so that the answer was not held to them: of tools by name, null: of the format. */
  relaxed: RelaxedSchema[];
  /** "stop" also where a stop string ended it. */
  finishReason: FinishReason;
  usage: Usage;
}

export type ChatEvent = ChatDelta | ChatMessageEvent | { type: "done"; finishReason: FinishReason; usage: Usage };

/** Of all engines of this thread: what was said and written before, in tokens. */
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
 * One answer that is being written: an AsyncIterable of what happens, and `result` for the whole. Cancels as Generation
 * does, and like it stops while a reader is too far behind.
 */
export class ChatRun implements AsyncIterable<ChatEvent> {
  readonly result: Promise<ChatAnswer>;
  /** What the model was given. */
  readonly promptTokens: Uint32Array;
  readonly #generation: Generation;
  readonly #reader: ChatReader;
  readonly #chat: CheckedChat;
  /** Where its messages belong as history; null: nowhere. */
  #scope: string | null;
  readonly #log = new EventLog<ChatEvent>([], (held) => this.#generation.hold(held));

  /** Made by `Engine.chat`, for the prompt from `renderChat`. */
  constructor(generation: Generation, { scope, chat, tools }: ChatPrompt) {
    this.#generation = generation;
    this.#scope = scope;
    this.#chat = chat;
    this.promptTokens = generation.promptTokens;
    this.#reader = new ChatReader({
      tools: tools.functions.map(({ name }) => name),
      stop: chat.stop,
      hasLogprobs: chat.hasLogprobs,
      onMessage: (message, written) => this.#remember(message, written),
    });
    this.result = this.#run();
    this.result.catch(() => {}); // a caller who only iterates hears of the failure there
  }

  /** Resolves before the first token, with the schemas that are relaxed; as that of a Generation. */
  get accepted(): Promise<Acceptance> {
    return this.#generation.accepted;
  }

  cancel(): void {
    this.#generation.cancel();
  }

  [Symbol.asyncIterator](): AsyncGenerator<ChatEvent, void, undefined> {
    return this.#log.read(() => this.cancel());
  }

  async #run(): Promise<ChatAnswer> {
    try {
      for await (const batch of this.#generation.batches({ keep: false })) {
        for (const generated of batch) this.#tell(this.#reader.push(generated));
        if (this.#reader.stopped) break; // which cancels what the model would go on to write
      }
      const { finishReason: ended, usage } = await this.#generation.result;
      const { relaxed } = await this.#generation.accepted;
      this.#tell(this.#reader.end());
      const finishReason = this.#reader.stopped ? "stop" : ended;
      this.#log.push({ type: "done", finishReason, usage });
      this.#log.end();
      return { ...this.#answer(finishReason), relaxed, finishReason, usage };
    } catch (reason) {
      this.#log.fail(reason);
      throw reason;
    }
  }

  #answer(finishReason: FinishReason): Omit<ChatAnswer, "relaxed" | "finishReason" | "usage"> {
    const { messages, logprobs } = this.#reader;
    const { format, hasLogprobs } = this.#chat;
    const said = summarize(messages);
    const parsed = format === null || finishReason !== "stop" ? undefined : jsonOf(said.content);
    return { ...said, ...(parsed !== undefined && { parsed }), ...(hasLogprobs && { logprobs }) };
  }

  #tell(events: readonly ChatEvent[]): void {
    for (const event of events) this.#log.push(event);
  }

  /** Once the model has gone on to play somebody else, what follows answers what nobody said. */
  #remember(message: Message, written: readonly number[]): void {
    if (message.role !== "assistant") this.#scope = null;
    if (this.#scope !== null) memory.renderer.remember(this.#scope, message, written);
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

/** What OpenAI's API calls reasoning, content and tool calls, from the messages of one turn. */
export function summarize(messages: Message[]): Pick<ChatAnswer, "messages" | "reasoning" | "content" | "toolCalls"> {
  const toolCalls: ToolCall[] = [];
  const reasoning: string[] = [];
  const final: string[] = [];
  const preamble: string[] = [];
  for (const message of messages) {
    if (message.role !== "assistant") continue; // a model that goes on to play the user answers nobody
    const text = messageText(message);
    const tool = calledTool(message.recipient);
    if (tool !== null) {
      message.id ??= `call_${randomUUID().replaceAll("-", "")}`;
      toolCalls.push({ id: message.id, name: tool, arguments: text });
    } else if (message.channel === "analysis") reasoning.push(text);
    else if (message.channel === "commentary") preamble.push(text);
    else final.push(text);
  }
  // A preamble is what the model tells the user before it calls a tool; with a final message it is part of the way there.
  const content = final.length > 0 ? final : preamble;
  return { messages, reasoning: reasoning.join("\n"), content: content.join("\n"), toolCalls };
}
