import { randomUUID } from "node:crypto";
import {
  type ChatConversationOptions,
  type ChatMessage,
  chatConversation,
  chatConversationOptionNames,
} from "./chat-messages.js";
import { invalidArgument } from "./errors.js";
import { EventLog } from "./event-log.js";
import { type GenerateOptions, generateOptionNames } from "./generate-options.js";
import type { Acceptance, FinishReason, Generation, Usage } from "./generation.js";
import {
  type CompletionOptions,
  type CompletionPrompt,
  ConversationRenderer,
} from "./harmony/conversation-renderer.js";
import { type Message, messageText } from "./harmony/message.js";
import {
  calledTool,
  type ParsedDelta,
  type ParsedEvent,
  type ParsedMessage,
  RecoveringParser,
} from "./harmony/recovering-parser.js";
import { refuseUnknown } from "./unknown-option.js";

export type { ChatMessage } from "./chat-messages.js";

/** What of the history the model sees, and in which tokens. */
export type ChatHistoryOptions = Pick<CompletionOptions, "toolCallOrder" | "originalTokens"> & {
  /** Default "past": no analysis from before the last final answer; `true` is the reference's rule. */
  autoDropAnalysis?: CompletionOptions["autoDropAnalysis"];
};

/**
 * How to answer, and how to sample while doing so; with one choice. Stop strings are looked for in all that the model
 * writes, its reasoning and the harmony markup included, and the messages keep what they held of it.
 */
export type ChatOptions = ChatConversationOptions &
  ChatHistoryOptions &
  Omit<GenerateOptions, "stopTokens" | "ignoreEos">;

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
  finishReason: FinishReason;
  usage: Usage;
}

export type ChatEvent = ParsedDelta | ParsedMessage | { type: "done"; finishReason: FinishReason; usage: Usage };

const conversationNames: ReadonlySet<string> = new Set(chatConversationOptionNames);
const historyNames: ReadonlySet<string> = new Set([
  "autoDropAnalysis",
  "toolCallOrder",
  "originalTokens",
] as const satisfies readonly (keyof ChatHistoryOptions)[]);
const generateNames: ReadonlySet<string> = new Set(
  [...generateOptionNames].filter((name) => name !== "stopTokens" && name !== "ignoreEos"),
);
const chatNames: ReadonlySet<string> = new Set([...conversationNames, ...historyNames, ...generateNames]);

/** Of all engines of this thread: what was said and written before, in tokens. */
const renderer = new ConversationRenderer();

/** The tokens of a conversation up to and including `<|start|>assistant`, and where its answer belongs. */
export function renderChat(messages: readonly ChatMessage[], options: ChatOptions): CompletionPrompt {
  refuseUnknown("chat", options, chatNames, "ChatOptions");
  if (options.n !== undefined && options.n !== 1) throw invalidArgument("n", "1 (a chat has one answer)", options.n);
  const conversation = chatConversation(messages, pick(options, conversationNames));
  return renderer.renderForCompletion(conversation, "assistant", {
    autoDropAnalysis: "past",
    ...pick(options, historyNames),
    cacheSalt: options.cacheSalt,
  });
}

/** The part of the options that `Engine.generate` takes. */
export function chatGenerateOptions(options: ChatOptions): GenerateOptions {
  return pick(options, generateNames);
}

/** What is undefined is as good as absent. */
function pick(options: ChatOptions, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => names.has(name) && value !== undefined));
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
  readonly #parser: RecoveringParser;
  /** Where its messages belong as history; null: nowhere. */
  #scope: string | null;
  /** What the parser took since the last message that it completed. */
  #pending: number[] = [];
  readonly #log = new EventLog<ChatEvent>((held) => this.#generation.hold(held));

  /** Made by `Engine.chat`; `scope` is that of the prompt from `renderChat`. */
  constructor(generation: Generation, options: ChatOptions, scope: string | null = null) {
    this.#scope = scope;
    this.#generation = generation;
    this.promptTokens = generation.promptTokens;
    this.#parser = new RecoveringParser({ tools: (options.tools ?? []).map((tool) => tool.function.name) });
    this.result = this.#run();
    this.result.catch(() => {}); // a caller who only iterates hears of the failure there
  }

  /** As that of a Generation. */
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
      for await (const { token } of this.#generation) {
        this.#pending.push(token);
        this.#accept(this.#parser.push(token));
      }
      const { finishReason, usage } = await this.#generation.result;
      this.#accept(this.#parser.end());
      this.#log.push({ type: "done", finishReason, usage });
      this.#log.end();
      return { ...summarize(this.#parser.messages), finishReason, usage };
    } catch (reason) {
      this.#log.fail(reason);
      throw reason;
    }
  }

  #accept(events: readonly ParsedEvent[]): void {
    for (const event of events) {
      if (event.type === "message") this.#remember(event.message);
      this.#log.push(event);
    }
  }

  /** Once the model has gone on to play somebody else, what follows answers what nobody said. */
  #remember(message: Message): void {
    if (message.role !== "assistant") this.#scope = null;
    if (this.#scope !== null) renderer.remember(this.#scope, message, this.#pending);
    this.#pending = [];
  }
}

/** What OpenAI's API calls reasoning, content and tool calls, from the messages of one turn. */
export function summarize(messages: Message[]): Omit<ChatAnswer, "finishReason" | "usage"> {
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
