import { ChoiceReader } from "../../chat/choice-reader.js";
import { turnConstraint } from "../../chat/turn-constraint.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import type { Engine } from "../../engine.js";
import type { GenerateOptions } from "../../generation/generate-options.js";
import type { Generation } from "../../generation/generation.js";
import type { GeneratedToken, RelaxedSchema } from "../../generation/results.js";
import { streamed } from "../../generation/streamed.js";
import type { CompletionPrompt } from "../../harmony/conversation-renderer.js";
import { formatTokens } from "../../harmony/tokens.js";
import { namedRefusal, withFieldNames } from "../http/error-response.js";
import { ApiError } from "../http/errors.js";
import { renderTurn } from "./prompt.js";
import type { Relaxed, Turn, TurnRequest } from "./turn.js";

/** What ends an assistant's turn; `<|end|>` ends a message of it only. */
const turnEnds: readonly number[] = [formatTokens.return, formatTokens.call, formatTokens.endOfText];

/**
 * Asks the engine for one turn of the assistant. A request whose text is long has its place in the engine's queue once that
 * is encoded, and holds nobody up until then.
 *
 * @throws ApiError that names the field for what is refused or does not fit, GptOssError QUEUE_FULL or CLOSED, and the
 *   signal's reason, while there is still a status to tell it with; what happens later arrives through the Turn.
 */
export async function startTurn(engine: Engine, request: TurnRequest): Promise<Turn> {
  return withFieldNames(request, async () => {
    const { contextLength } = engine.info.limits;
    const prompt = await renderTurn(request, contextLength);
    const maxTokensName = request.fieldNames?.maxTokens ?? "max_tokens";
    refuseOverflow(prompt.tokens.length, request.maxTokens, contextLength, maxTokensName);
    request.ticket?.reserve(prompt.tokens.length, request.n, request.maxTokens);
    const generation = engine.generate(prompt.tokens, generateOptions(engine, request));
    request.ticket?.count(generation);
    const { relaxed } = await generation.accepted;
    return new RunningTurn(
      generation,
      request,
      prompt,
      relaxed.map((schema) => relaxedOf(schema, request)),
    );
  });
}

function relaxedOf({ tool, reason }: RelaxedSchema, { tools, format }: TurnRequest): Relaxed {
  const asked = tool === null ? format : tools.find(({ name }) => name === tool);
  return { param: asked?.at ?? "tools", message: reason };
}

/** What was asked for expressly must fit; what is not asked for is as much as fits. */
export function refuseOverflow(
  prompt: number,
  maxTokens: number | undefined,
  contextLength: number,
  maxTokensName: string,
): void {
  // A prompt that does not fit by itself is refused by the engine.
  if (maxTokens === undefined || prompt >= contextLength || prompt + maxTokens <= contextLength) return;
  throw new ApiError(
    400,
    `The context holds ${contextLength} tokens: ${prompt} of the prompt and ${maxTokens} of the answer are too many`,
    { code: "context_length_exceeded", param: maxTokensName },
  );
}

function generateOptions(engine: Engine, request: TurnRequest): GenerateOptions {
  const { maxTokens, minTokens, stopTokens = [], ignoreEos = false, logitBias, priority } = request;
  const isFullVocabulary = engine.info.model.vocab === engine.tokenizer.vocabSize;
  const ends = ignoreEos ? [] : [...engine.info.model.eosTokens, ...turnEnds];
  return {
    ...request.sampling,
    n: request.n,
    logprobs: request.topLogprobs ?? 0,
    stopTokens: [...ends, ...stopTokens],
    signal: request.signal,
    cacheSalt: request.tenant.cacheSalt(request.cacheSalt),
    ...(request.ticket !== undefined && { tenant: request.ticket.client }),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(minTokens !== undefined && { minTokens }),
    ...(logitBias !== undefined && { logitBias }),
    ...(priority !== undefined && { priority }),
    ...(isFullVocabulary && { constraint: turnConstraint(request) }),
  };
}

class RunningTurn implements Turn {
  readonly promptTokens: Uint32Array;
  readonly relaxed: readonly Relaxed[];
  readonly #generation: Generation;
  readonly #request: TurnRequest;
  readonly #choices: ChoiceReader[];

  constructor(
    generation: Generation,
    request: TurnRequest,
    { tokens, scope }: CompletionPrompt,
    relaxed: readonly Relaxed[],
  ) {
    this.promptTokens = tokens;
    this.relaxed = relaxed;
    this.#generation = generation;
    this.#request = request;
    const { reasoning, renderer } = request.tenant;
    this.#choices = Array.from({ length: request.n }, (_, choice) => {
      return new ChoiceReader({
        choice,
        tools: request.toolChoice.type === "none" ? [] : request.tools.map(({ name }) => name),
        stop: request.stop,
        includeStop: request.includeStop ?? false,
        hasLogprobs: request.topLogprobs !== null,
        stopTokens: (request.stopTokens ?? []).filter((token) => !turnEnds.includes(token)),
        promptTokens: tokens.length,
        onMessage: (message, written) => renderer.remember(scope, message, written),
        onCall: (callId, analysis) => reasoning.remember(callId, analysis),
      });
    });
  }

  cancel(): void {
    this.#generation.cancel();
  }

  hold(held: boolean): void {
    this.#generation.hold(held);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TurnEvent, void, undefined> {
    try {
      for await (const batch of this.#generation.batches(streamed(this.#request.topLogprobs))) {
        for (const choice of this.#choices.keys()) {
          yield* merged(this.#read(choice, batch));
        }
      }
      // Choices that were stopped here, for their engine only knows that they were cancelled.
      const { cachedTokens } = (await this.#generation.result).usage;
      for (const reader of this.#choices) {
        if (!reader.ended) yield* reader.end({ finishReason: "stop", cachedTokens });
      }
    } catch (error) {
      throw namedRefusal(error, this.#request);
    } finally {
      this.#generation.cancel();
    }
  }

  #read(choice: number, batch: readonly GeneratedToken[]): TurnEvent[] {
    const reader = this.#choices[choice]!;
    const events: TurnEvent[] = [];
    for (const token of batch) {
      if (token.index !== choice || reader.ended) continue;
      const wasStopped = reader.stopped;
      events.push(...reader.push(token));
      if (reader.stopped && !wasStopped) this.#generation.cancel(choice);
      if (token.last) events.push(...reader.end(token.last));
    }
    return events;
  }
}

/** Pieces of one part that are there together become one. */
function merged(events: readonly TurnEvent[]): TurnEvent[] {
  const out: TurnEvent[] = [];
  for (const event of events) {
    const last = out.at(-1);
    if (event.type === "part-delta" && last?.type === "part-delta" && last.part === event.part) {
      out[out.length - 1] = {
        ...last,
        text: last.text + event.text,
        tokens: last.tokens.length > 0 ? [...last.tokens, ...event.tokens] : event.tokens,
      };
    } else {
      out.push(event);
    }
  }
  return out;
}
