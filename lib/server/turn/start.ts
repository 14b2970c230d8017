import { beginTurn, type Turn as ChatTurn, type TurnOptions } from "../../chat/turn.js";
import type { TurnEvent } from "../../chat/turn-event.js";
import type { Engine } from "../../engine.js";
import type { PromptLogprobs } from "../../generation/prompt-logprobs.js";
import type { RelaxedSchema } from "../../generation/results.js";
import { withoutAbsent } from "../bodies/common-fields.js";
import { namedRefusal, withFieldNames } from "../http/error-response.js";
import { ApiError } from "../http/errors.js";
import { renderTurn } from "./prompt.js";
import { scorePrompts } from "./prompt-logprobs.js";
import type { Relaxed, Turn, TurnRequest } from "./turn.js";

/**
 * Asks the engine for one turn of the assistant. A request with a long text enters the engine's queue after its
 * encoding, and does not delay other requests until then.
 *
 * @throws ApiError that names the field, when the engine refuses the request or it does not fit.
 * @throws GptOssError QUEUE_FULL or CLOSED; the signal's reason. All of them while the HTTP status can still report
 *   them: later failures arrive through the Turn.
 */
export async function startTurn(engine: Engine, request: TurnRequest): Promise<Turn> {
  return withFieldNames(request, async () => {
    const { contextLength } = engine.info.limits;
    const prompt = await renderTurn(request, contextLength);
    const maxTokensName = request.fieldNames?.maxTokens ?? "max_tokens";
    refuseOverflow(prompt.tokens.length, request.maxTokens, contextLength, maxTokensName);
    request.ticket?.reserve(prompt.tokens.length, request.n, request.maxTokens);
    const options = turnOptions(request);
    const { promptLogprobs: top } = request;
    const scores = top === undefined ? undefined : await scored(engine, prompt.tokens, top, options);
    const turn = beginTurn(engine, request.tenant, prompt, options);
    request.ticket?.count(turn.generation);
    const { relaxed } = await turn.accepted;
    return new ServedTurn(
      turn,
      request,
      relaxed.map((schema) => relaxedOf(schema, request)),
      scores,
    );
  });
}

async function scored(
  engine: Engine,
  tokens: Uint32Array,
  top: number,
  { generate }: TurnOptions,
): Promise<PromptLogprobs> {
  const { tenant, cacheSalt, priority, adapter } = generate;
  const signal = generate.signal!;
  const options = { signal, logprobs: top, ...withoutAbsent({ tenant, cacheSalt, priority, adapter }) };
  const [made] = await scorePrompts(engine, [tokens], options, "prompt_logprobs");
  return made!;
}

function relaxedOf({ tool, reason }: RelaxedSchema, { tools, format }: TurnRequest): Relaxed {
  const asked = tool === null ? format : tools.find(({ name }) => name === tool);
  return { param: asked?.at ?? "tools", message: reason };
}

/** Refuses an explicit maximum that does not fit. Without one, the answer may fill the rest of the context. */
export function refuseOverflow(
  prompt: number,
  maxTokens: number | undefined,
  contextLength: number,
  maxTokensName: string,
): void {
  // The engine refuses a prompt that does not fit by itself.
  if (maxTokens === undefined || prompt >= contextLength || prompt + maxTokens <= contextLength) return;
  throw new ApiError(
    400,
    `The context holds ${contextLength} tokens: ${prompt} of the prompt and ${maxTokens} of the answer are too many`,
    { code: "context_length_exceeded", param: maxTokensName },
  );
}

function turnOptions(request: TurnRequest): TurnOptions {
  const { toolChoice, format, analysisTokens, stop, includeStop = false, topLogprobs } = request;
  const { maxTokens, minTokens, stopTokens, ignoreEos, logitBias, priority, adapter } = request;
  return {
    toolChoice,
    format,
    analysisTokens,
    stop,
    includeStop,
    logprobs: topLogprobs === null ? "none" : "visible",
    generate: {
      ...request.sampling,
      n: request.n,
      logprobs: topLogprobs ?? 0,
      signal: request.signal,
      cacheSalt: request.tenant.cacheSalt(request.cacheSalt),
      ...(request.ticket !== undefined && { tenant: request.ticket.client }),
      ...(maxTokens !== undefined && { maxTokens }),
      ...(minTokens !== undefined && { minTokens }),
      ...(stopTokens !== undefined && { stopTokens }),
      ...(ignoreEos !== undefined && { ignoreEos }),
      ...(logitBias !== undefined && { logitBias }),
      ...(priority !== undefined && { priority }),
      ...(adapter !== undefined && { adapter }),
    },
  };
}

/** A turn whose failures name fields of the request. */
class ServedTurn implements Turn {
  readonly promptTokens: Uint32Array;
  readonly relaxed: readonly Relaxed[];
  readonly promptLogprobs?: PromptLogprobs;
  readonly #turn: ChatTurn;
  readonly #request: TurnRequest;

  constructor(turn: ChatTurn, request: TurnRequest, relaxed: readonly Relaxed[], scores?: PromptLogprobs) {
    this.promptTokens = turn.promptTokens;
    this.relaxed = relaxed;
    if (scores !== undefined) this.promptLogprobs = scores;
    this.#turn = turn;
    this.#request = request;
  }

  hold(held: boolean): void {
    this.#turn.hold(held);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TurnEvent, void, undefined> {
    let stray = 0;
    try {
      for await (const events of this.#turn.batches()) {
        for (const event of events) if (event.type === "choice-end") stray += event.strayCharacters ?? 0;
        yield* this.promptLogprobs === undefined ? merged(events) : merged(events).map(computedWhole);
      }
    } catch (error) {
      throw namedRefusal(error, this.#request);
    } finally {
      if (stray > 0) this.#request.onStray?.(stray);
    }
  }
}

/** A prompt whose log probabilities are asked for is computed whole, and only then found in the cache. */
function computedWhole(event: TurnEvent): TurnEvent {
  if (event.type !== "choice-end") return event;
  const { cachedTokens, cacheWriteTokens } = event.usage;
  return { ...event, usage: { ...event.usage, cachedTokens: 0, cacheWriteTokens: cacheWriteTokens + cachedTokens } };
}

/** Joins waiting pieces of the same part into one. */
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
