import { type ChatAnswer, type ChatMessage, type ChatOptions, type ChatRun, renderChat } from "../../chat/chat.js";
import { GptOssError } from "../../errors.js";
import type { GenerateOptions } from "../../generation/generate-options.js";
import type { ReasoningEffort } from "../../harmony/index.js";
import { AnswerPrinter } from "../answer-printer.js";
import { exitCodes } from "../exit.js";
import type { LoadedModel } from "../load-model.js";
import { Output } from "../output.js";
import { perSecond, type Speed, speedLine } from "../speed.js";
import { reportError } from "../stdio.js";
import { helpText, type ParsedCommand, parseCommand, unknownCommand } from "./commands.js";
import type { EnteredText } from "./message-reader.js";
import { countTurns, turnsToDrop, withoutOldest } from "./turns.js";

export interface SessionFlags {
  effort: ReasoningEffort;
  reasoning: boolean;
  speed?: true;
  dropOldest?: true;
  system?: string;
}

export interface SessionOptions {
  model: LoadedModel;
  sampling: GenerateOptions;
  flags: SessionFlags;
  /** Asks the person at the terminal; null: the input is no terminal. */
  confirm: ((question: string) => Promise<boolean>) | null;
}

/** The share of the context that must be free for an answer. */
const leastRoom = 1 / 8;
/** The share that is free after turns were dropped: more, so that not every message drops some. */
const newRoom = 1 / 4;

/** A conversation, which takes messages and commands. */
export class ChatSession {
  private readonly out = Output.stdout();
  private readonly notes = Output.stderr();
  private readonly options: SessionOptions;
  private messages: ChatMessage[] = [];
  private effort: ReasoningEffort;
  private instructions: string | undefined;
  private running: ChatRun | undefined;
  private last: Speed | undefined;

  constructor(options: SessionOptions) {
    this.options = options;
    this.effort = options.flags.effort;
    this.instructions = options.flags.system;
  }

  /** Stops the running answer; false if there is none, or it is already stopping. */
  stop(): boolean {
    const running = this.running;
    this.running = undefined;
    running?.cancel();
    return running !== undefined;
  }

  /** Takes a message or a command. An error is reported, and the conversation goes on. */
  async take({ text, isQuoted }: EnteredText): Promise<"quit" | undefined> {
    if (text.trim() === "") return undefined;
    const command = isQuoted ? null : parseCommand(text);
    if (command !== null) return this.obey(command);
    try {
      await this.say(text);
    } catch (error) {
      this.out.endLine();
      reportError(error);
      this.fail();
    }
    return undefined;
  }

  private async say(text: string): Promise<void> {
    const asked: ChatMessage[] = [...this.messages, { role: "user", content: text }];
    try {
      await this.answer(await this.shortened(asked));
    } catch (error) {
      throw this.messages.length > 0 && this.options.confirm === null ? withAdvice(error) : error;
    }
  }

  private async answer(asked: ChatMessage[]): Promise<void> {
    const { model, flags } = this.options;
    const started = performance.now();
    let firstMilliseconds: number | undefined;
    const run = model.engine.chat(asked, this.chatOptions());
    this.running = run;
    try {
      const printer = new AnswerPrinter(this.out, this.notes, flags.reasoning);
      for await (const event of run) {
        firstMilliseconds ??= performance.now() - started;
        if (event.type === "delta") printer.print(event);
        else printer.endMessage();
      }
      const answer = await run.result;
      const totalMilliseconds = performance.now() - started;
      this.messages = [...asked, ...answer.messages];
      this.last = { ...answer.usage, firstMilliseconds: firstMilliseconds ?? totalMilliseconds, totalMilliseconds };
      this.tellEnd(answer);
      if (flags.speed) this.notes.line(speedLine(this.last));
    } finally {
      this.running = undefined;
    }
  }

  private chatOptions(): ChatOptions {
    return {
      ...this.options.sampling,
      reasoningEffort: this.effort,
      ...(this.instructions !== undefined && { developerInstructions: this.instructions }),
    };
  }

  private tellEnd({ finishReason, usage }: ChatAnswer): void {
    if (finishReason === "cancelled") this.notes.line("(stopped)");
    if (finishReason !== "length") return;
    const { contextLength } = this.options.model.engine.info.limits;
    const isFull = usage.promptTokens + usage.completionTokens >= contextLength;
    this.notes.line(
      isFull ? `(the context of ${contextLength} tokens is full)` : "(the answer reached the limit of tokens)",
    );
  }

  /** The conversation without its oldest turns, if it leaves too little room for an answer and they may be dropped. */
  private async shortened(asked: ChatMessage[]): Promise<ChatMessage[]> {
    const { model, flags, confirm } = this.options;
    const { contextLength } = model.engine.info.limits;
    const tokensOf = (messages: readonly ChatMessage[]) => renderChat(messages, this.chatOptions()).tokens.length;
    const tokens = tokensOf(asked);
    if (tokens <= contextLength * (1 - leastRoom)) return asked;
    const turns = turnsToDrop(asked, tokensOf, Math.floor(contextLength * (1 - newRoom)), contextLength - 1);
    if (turns === null || turns === 0) return asked;
    const what = turns === 1 ? "the oldest turn" : `the oldest ${turns} of ${countTurns(asked) - 1} turns`;
    if (!flags.dropOldest) {
      if (confirm === null) return asked;
      this.notes.line(`The context has ${contextLength} tokens, and the conversation takes ${tokens}.`);
      if (!(await confirm(`Drop ${what} and go on? [Y/n] `))) return asked;
    }
    this.notes.line(`(dropped ${what})`);
    return withoutOldest(asked, turns);
  }

  private obey({ name, word, value }: ParsedCommand): "quit" | undefined {
    switch (name) {
      case "quit":
        return "quit";
      case "help":
        this.out.line(helpText());
        break;
      case "reset":
        this.messages = [];
        this.notes.line("A new conversation starts.");
        break;
      case "system":
        this.setInstructions(value);
        break;
      case "effort":
        this.setEffort(value);
        break;
      case "stats":
        this.printStats();
        break;
      case null:
        this.refuse(unknownCommand(word));
    }
    return undefined;
  }

  private setInstructions(value: string): void {
    if (value !== "") this.instructions = value === "none" ? undefined : value;
    const { instructions } = this;
    this.notes.line(instructions === undefined ? "No instructions." : `Instructions: ${instructions}`);
  }

  private setEffort(value: string): void {
    if (value === "low" || value === "medium" || value === "high") {
      this.effort = value;
    } else if (value !== "") {
      this.refuse(`Expected low, medium or high for /effort but received ${JSON.stringify(value)}`);
      return;
    }
    this.notes.line(`Reasoning effort: ${this.effort}`);
  }

  private refuse(message: string): void {
    this.notes.line(message);
    this.fail();
  }

  /** A script has to learn of it. A person at a terminal has seen it, and goes on. */
  private fail(): void {
    if (this.options.confirm === null) process.exitCode = exitCodes.failure;
  }

  private printStats(): void {
    const { engine, model } = this.options.model;
    const { info } = engine;
    const stats = engine.stats();
    this.out.line(`model       ${model} on ${info.backend} (${info.device}, ${info.isa}, ${info.threads} threads)`);
    this.out.line(`effort      ${this.effort}`);
    if (this.last !== undefined) {
      const { promptTokens, completionTokens, cachedTokens, firstMilliseconds: first, totalMilliseconds } = this.last;
      this.out.line(
        `last answer ${promptTokens} tokens read, ${completionTokens} written; first after ${Math.round(first)} ms, ` +
          `then ${perSecond(Math.max(0, completionTokens - 1), totalMilliseconds - first)}; ${cachedTokens} of the read tokens came from the cache`,
      );
    }
    this.out.line(
      `in total    ${stats.promptTokens} tokens read, ${stats.completionTokens} written in ${stats.steps} steps`,
    );
    const { total, free, cached } = stats.pages.full;
    this.out.line(`KV cache    ${total - free} of ${total} pages in use, ${cached} free ones keep a prefix`);
  }
}

function withAdvice(error: unknown): unknown {
  if (!(error instanceof GptOssError) || error.code !== "CONTEXT_OVERFLOW") return error;
  const advice = "/reset starts a new conversation, and --drop-oldest drops the oldest turns";
  return new GptOssError(error.code, `${error.message}; ${advice}`, { cause: error, field: error.field });
}
