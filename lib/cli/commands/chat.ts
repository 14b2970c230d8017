import { createInterface } from "node:readline";
import { Command } from "commander";
import type { ChatAnswer, ChatMessage, ChatRun } from "../../chat.js";
import type { ReasoningEffort } from "../../harmony/index.js";
import { AnswerPrinter } from "../answer-printer.js";
import { exitCodes, reportError } from "../exit.js";
import {
  type AnswerFlags,
  addAnswerOptions,
  addEngineOptions,
  addSamplingOptions,
  type EngineFlags,
  type LoadedModel,
  loadModel,
  modelArgument,
  type SamplingFlags,
  samplingOptions,
} from "../options.js";
import { Output } from "../output.js";

interface ChatFlags extends EngineFlags, SamplingFlags, AnswerFlags {
  system?: string;
}

const help = `/effort low|medium|high  how much the model thinks before it answers
/system TEXT             instructions for the model; without TEXT none
/reset                   forget the conversation
/stats                   what the last answer took, and the engine's counters
/quit                    leave; so does Ctrl-D, and Ctrl-C when no answer is under way`;

export function chatCommand(): Command {
  const command = new Command("chat")
    .description("Talk to a model. Each line is a message; lines that begin with / are commands, see /help.")
    .argument("[model]", modelArgument)
    .option("--system <text>", "instructions for the model");
  addEngineOptions(addSamplingOptions(addAnswerOptions(command)));
  return command.action(chat);
}

async function chat(modelName: string | undefined, flags: ChatFlags): Promise<void> {
  const model = await loadModel(modelName, flags, "chat");
  await using _ = model.engine;
  const session = new ChatSession(model, flags);
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const input = createInterface({ input: process.stdin, output: process.stdout, terminal });
  input.setPrompt("> ");

  let leaving = false;
  const interrupt = () => {
    if (session.stop()) return;
    leaving = true;
    input.close();
  };
  input.on("SIGINT", interrupt); // Ctrl-C at a terminal that readline reads
  process.on("SIGINT", interrupt);
  try {
    if (terminal) input.prompt();
    for await (const line of input) {
      if (leaving || (await session.take(line)) === "quit") return;
      if (terminal) input.prompt();
    }
    if (terminal) process.stdout.write("\n"); // the prompt was not answered
  } finally {
    process.off("SIGINT", interrupt);
    input.close();
  }
}

/** A conversation and what may be said to it: messages and commands. */
class ChatSession {
  private readonly out = new Output(process.stdout);
  private readonly notes = new Output(process.stderr);
  private readonly model: LoadedModel;
  private readonly flags: ChatFlags;
  private messages: ChatMessage[] = [];
  private effort: ReasoningEffort;
  private instructions: string | undefined;
  private running: ChatRun | undefined;
  private last: { answer: ChatAnswer; firstMs: number; totalMs: number } | undefined;

  constructor(model: LoadedModel, flags: ChatFlags) {
    this.model = model;
    this.flags = flags;
    this.effort = flags.effort;
    this.instructions = flags.system;
  }

  /** Stops the answer under way; false when there is none, or it is being stopped already. */
  stop(): boolean {
    const running = this.running;
    this.running = undefined;
    running?.cancel();
    return running !== undefined;
  }

  /** Takes a line; what goes wrong with it is told, and the conversation goes on. */
  async take(line: string): Promise<"quit" | undefined> {
    if (line.trim() === "") return undefined;
    if (line.startsWith("/")) return this.command(line);
    try {
      await this.answer(line);
    } catch (error) {
      this.out.endLine();
      reportError(error);
      process.exitCode = exitCodes.failure;
    }
    return undefined;
  }

  private async answer(text: string): Promise<void> {
    const asked: ChatMessage[] = [...this.messages, { role: "user", content: text }];
    const started = performance.now();
    let firstMs: number | undefined;
    const run = this.model.engine.chat(asked, {
      ...samplingOptions(this.flags, this.model.isDemo),
      reasoningEffort: this.effort,
      ...(this.instructions !== undefined && { developerInstructions: this.instructions }),
    });
    this.running = run;
    try {
      const printer = new AnswerPrinter(this.out, this.flags.reasoning);
      for await (const event of run) {
        firstMs ??= performance.now() - started;
        printer.print(event);
      }
      const answer = await run.result;
      this.messages = [...asked, ...answer.messages];
      this.last = { answer, firstMs: firstMs ?? 0, totalMs: performance.now() - started };
      if (answer.finishReason === "cancelled") this.notes.line("(stopped)");
      if (answer.finishReason === "length") this.notes.line("(the answer reached the limit of tokens)");
    } finally {
      this.running = undefined;
    }
  }

  private command(line: string): "quit" | undefined {
    const [, name, rest = ""] = /^\/(\S*)\s*(.*)$/s.exec(line)!;
    const value = rest.trim();
    switch (name) {
      case "quit":
      case "exit":
        return "quit";
      case "help":
        this.out.line(help);
        break;
      case "reset":
        this.messages = [];
        this.notes.line("The conversation starts anew.");
        break;
      case "system":
        this.instructions = value === "" ? undefined : value;
        this.notes.line(value === "" ? "No instructions." : "Instructions set.");
        break;
      case "effort":
        this.setEffort(value);
        break;
      case "stats":
        this.printStats();
        break;
      default:
        this.refuse(`Unknown command /${name}; /help lists all`);
    }
    return undefined;
  }

  private setEffort(value: string): void {
    if (value !== "low" && value !== "medium" && value !== "high") {
      this.refuse(`Expected low, medium or high for /effort but received ${JSON.stringify(value)}`);
      return;
    }
    this.effort = value;
    this.notes.line(`Reasoning effort: ${value}`);
  }

  private refuse(message: string): void {
    this.notes.line(message);
    process.exitCode = exitCodes.failure;
  }

  private printStats(): void {
    const { info } = this.model.engine;
    const stats = this.model.engine.stats();
    this.out.line(
      `model       ${this.model.model} on ${info.backend} (${info.device}, ${info.isa}, ${info.threads} threads)`,
    );
    this.out.line(`effort      ${this.effort}`);
    if (this.last !== undefined) {
      const { answer, firstMs, totalMs } = this.last;
      const { promptTokens, cachedTokens, completionTokens } = answer.usage;
      const perSecond = completionTokens > 1 ? (1000 * (completionTokens - 1)) / Math.max(1, totalMs - firstMs) : 0;
      this.out.line(
        `last answer ${promptTokens} tokens read, ${completionTokens} written; ` +
          `first after ${Math.round(firstMs)} ms, then ${perSecond.toFixed(1)} per second; ${cachedTokens} of those read were known`,
      );
    }
    this.out.line(
      `in total    ${stats.promptTokens} tokens read, ${stats.completionTokens} written in ${stats.steps} steps`,
    );
    const { total, free, cached } = stats.pages.full;
    this.out.line(`KV cache    ${total - free} of ${total} pages in use, ${cached} with what may come again`);
  }
}
