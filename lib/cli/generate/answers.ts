import { type ChatAnswer, summarize } from "../../chat/chat.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import { logprobOf, type VisibleLogprob } from "../../chat/visible-logprob.js";
import { GptOssError } from "../../errors.js";
import type { FinishReason } from "../../generation/results.js";
import type { Message, ReasoningEffort } from "../../harmony/index.js";
import { Tenants } from "../../server/tenants/tenants.js";
import { renderTurn } from "../../server/turn/prompt.js";
import { startTurn } from "../../server/turn/start.js";
import type { TurnRequest } from "../../server/turn/turn.js";
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
  const turn = await startTurn(engine, await fitting(turnRequest(request), engine.info.limits.contextLength));
  const out = Output.stdout();
  const written = Array.from({ length: request.n }, () => new WrittenAnswer(request.logprobs !== null));
  const shown = request.json ? null : new ShownAnswers(request, out);
  using interruption = new Interruption(turn);
  for await (const event of turn) {
    firstMilliseconds ??= performance.now() - started;
    written[event.choice]!.take(event, interruption.happened);
    shown?.take(event);
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

function turnRequest(request: AnswerRequest): TurnRequest {
  const { prompt, instructions, effort, sampling, n, stop, logprobs, format } = request;
  const { maxTokens, ...rest } = sampling;
  return {
    tenant: new Tenants().everybody,
    messages: [{ role: "user", content: prompt }],
    ...(instructions !== undefined && { instructions }),
    tools: [],
    toolChoice: { type: "none" },
    format: format && { ...format, strict: true, at: "--schema" },
    effort,
    date: new Date().toISOString().slice(0, 10),
    sampling: rest,
    ...(maxTokens !== undefined && { maxTokens }),
    stop,
    topLogprobs: logprobs,
    n,
    signal: new AbortController().signal,
  };
}

/** As much as is asked for, or as fits. */
async function fitting(request: TurnRequest, contextLength: number): Promise<TurnRequest> {
  const { maxTokens } = request;
  const room = contextLength - (await renderTurn(request, contextLength)).tokens.length;
  return maxTokens === undefined || room < 1 ? request : { ...request, maxTokens: Math.min(maxTokens, room) };
}

type TurnAnswer = Pick<ChatAnswer, "messages" | "reasoning" | "content" | "toolCalls" | "finishReason" | "usage">;

/** One choice, as it is told with --json. */
class WrittenAnswer {
  readonly #hasLogprobs: boolean;
  readonly #channels = new Map<number, string>();
  readonly #messages: Message[] = [];
  readonly #logprobs: VisibleLogprob[] = [];
  #finishReason: FinishReason = "cancelled";
  #usage: ChatAnswer["usage"] = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

  constructor(hasLogprobs: boolean) {
    this.#hasLogprobs = hasLogprobs;
  }

  take(event: TurnEvent, isInterrupted: boolean): void {
    switch (event.type) {
      case "part-start":
        this.#channels.set(event.part, channelOf(event));
        break;
      case "part-delta":
        this.#logprobs.push(...event.tokens.map(logprobOf));
        break;
      case "part-end":
        this.#messages.push({
          role: "assistant",
          channel: this.#channels.get(event.part)!,
          content: [{ type: "text", text: event.text }],
        });
        break;
      case "choice-end": {
        const { promptTokens, cachedTokens, completionTokens } = event.usage;
        this.#usage = { promptTokens, cachedTokens, completionTokens };
        const isCut = event.finishReason === "length";
        this.#finishReason = isCut ? "length" : isInterrupted ? "cancelled" : "stop";
      }
    }
  }

  result(): TurnAnswer & { logprobs?: VisibleLogprob[] } {
    return {
      ...summarize(this.#messages),
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
