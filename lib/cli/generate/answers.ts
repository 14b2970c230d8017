import { AnswerParts } from "../../chat/answer-parts.js";
import type { ChatAnswer } from "../../chat/chat.js";
import { type PromptRequest, renderPrompt, type TurnMemory } from "../../chat/prompt.js";
import { beginTurn, type TurnOptions } from "../../chat/turn.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import { logprobOf, type VisibleLogprob } from "../../chat/visible-logprob.js";
import { GptOssError } from "../../errors.js";
import type { FinishReason } from "../../generation/results.js";
import { ConversationRenderer, type ReasoningEffort } from "../../harmony/index.js";
import { type AnswerPiece, AnswerPrinter } from "../answer-printer.js";
import type { LoadedModel } from "../load-model.js";
import { Output } from "../output.js";
import { speedLine } from "../speed.js";
import { ChoicesInOrder } from "./choices-in-order.js";
import { type CompletionRequest, Interruption } from "./request.js";

export interface AnswerRequest extends CompletionRequest {
  prompt: string;
  instructions: string | undefined;
  effort: ReasoningEffort;
  reasoning: boolean;
}

/** Answers a message, once or several times. */
export async function answer({ engine, model }: LoadedModel, request: AnswerRequest): Promise<void> {
  const isFullVocabulary = engine.info.model.vocab === engine.tokenizer.vocabSize;
  if (request.format !== null && !isFullVocabulary) {
    throw new GptOssError("UNSUPPORTED", "--schema needs a model with the whole vocabulary, or --raw");
  }
  const started = performance.now();
  let firstMilliseconds: number | undefined;
  const memory: TurnMemory = { renderer: new ConversationRenderer(), reasoning: null };
  const prompt = renderPrompt(memory, promptRequest(request, engine.info.limits.contextLength));
  const turn = beginTurn(engine, memory, prompt, turnOptions(request));
  const out = Output.stdout();
  const written = Array.from({ length: request.n }, () => new WrittenAnswer(request.logprobs !== null));
  const shown = request.json ? null : new ShownAnswers(request, out);
  using _ = new Interruption(turn);
  for await (const events of turn.batches()) {
    firstMilliseconds ??= performance.now() - started;
    for (const event of events) {
      written[event.choice]!.take(event);
      shown?.take(event);
    }
  }
  const totalMilliseconds = performance.now() - started;
  const answers = written.map((choice) => choice.result());
  const usage = {
    promptTokens: turn.promptTokens.length,
    cachedTokens: answers[0]!.usage.cachedTokens,
    completionTokens: answers.reduce((sum, { usage }) => sum + usage.completionTokens, 0),
  };
  if (request.json)
    out.line(JSON.stringify({ model, ...answers[0], usage, ...(request.n > 1 && { choices: answers }) }));
  if (request.speed) {
    Output.stderr().line(
      speedLine({ ...usage, firstMilliseconds: firstMilliseconds ?? totalMilliseconds, totalMilliseconds }),
    );
  }
}

function promptRequest({ prompt, instructions, effort, format }: AnswerRequest, contextLength: number): PromptRequest {
  return {
    messages: [{ role: "user", content: prompt }],
    conversation: {
      reasoningEffort: effort,
      ...(instructions && { developerInstructions: instructions }),
    },
    history: {},
    format,
    cacheSalt: undefined,
    contextLength,
  };
}

function turnOptions({ sampling, n, stop, logprobs, format }: AnswerRequest): TurnOptions {
  return {
    toolChoice: { type: "none" },
    format: format && { ...format, strict: true },
    stop,
    includeStop: false,
    logprobs: logprobs === null ? "none" : "visible",
    generate: { ...sampling, n, logprobs: logprobs ?? 0 },
  };
}

type TurnAnswer = Pick<ChatAnswer, "messages" | "reasoning" | "content" | "toolCalls" | "finishReason" | "usage">;

/** One choice, as it is told with --json. */
class WrittenAnswer {
  readonly #hasLogprobs: boolean;
  readonly #parts = new AnswerParts();
  readonly #logprobs: VisibleLogprob[] = [];
  #finishReason: FinishReason = "cancelled";
  #usage: ChatAnswer["usage"] = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

  constructor(hasLogprobs: boolean) {
    this.#hasLogprobs = hasLogprobs;
  }

  take(event: TurnEvent): void {
    this.#parts.accept(event);
    if (event.type === "part-delta") this.#logprobs.push(...event.tokens.map(logprobOf));
    if (event.type !== "choice-end") return;
    const { promptTokens, cachedTokens, completionTokens } = event.usage;
    this.#usage = { promptTokens, cachedTokens, completionTokens };
    this.#finishReason = event.finishReason === "tool_calls" ? "stop" : event.finishReason;
  }

  result(): TurnAnswer & { logprobs?: VisibleLogprob[] } {
    const { messages, reasoning, content, toolCalls } = this.#parts;
    return {
      ...{ messages, reasoning, content, toolCalls },
      finishReason: this.#finishReason,
      usage: this.#usage,
      ...(this.#hasLogprobs && { logprobs: this.#logprobs }),
    };
  }
}

/** The answers as they are printed: each as a conversation shows it. */
class ShownAnswers {
  readonly #choices: ChoicesInOrder<AnswerPiece | null>;
  readonly #channels = new Map<string, string>();

  constructor({ n, reasoning }: AnswerRequest, out: Output) {
    const printer = new AnswerPrinter(out, Output.stderr(), reasoning);
    this.#choices = new ChoicesInOrder(n, out, (piece) => {
      if (piece === null) printer.endMessage();
      else printer.print(piece);
    });
  }

  take(event: TurnEvent): void {
    const { choice } = event;
    switch (event.type) {
      case "part-start":
        this.#channels.set(`${choice}.${event.part}`, channelOf(event));
        break;
      case "part-delta": {
        const channel = this.#channels.get(`${choice}.${event.part}`)!;
        this.#choices.push(choice, { role: "assistant", channel, recipient: null, text: event.text });
        break;
      }
      case "part-end":
        this.#choices.push(choice, null);
        break;
      case "choice-end":
        this.#choices.end(choice);
    }
  }
}

/** Without tools there are no calls: what looks like one is text. */
function channelOf(event: TurnEvent & { type: "part-start" }): string {
  return event.kind === "text" ? event.channel : "analysis";
}
