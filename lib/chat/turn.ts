import type { ModelConfig } from "../binding.js";
import type { GenerateOptions } from "../generation/generate-options.js";
import type { Generation } from "../generation/generation.js";
import { modelTraits } from "../generation/model-traits.js";
import type { Acceptance, GeneratedToken } from "../generation/results.js";
import { streamed } from "../generation/streamed.js";
import { turnEnds } from "../harmony/tokens.js";
import { ChoiceReader, type ChoiceReaderOptions } from "./choice-reader.js";
import type { DeclaredTools } from "./declared-tools.js";
import type { TurnMemory, TurnPrompt } from "./prompt.js";
import { type HeldTurn, turnConstraint } from "./turn-constraint.js";
import type { TurnEvent } from "./turn-event.js";

/** One turn of the assistant. `Engine.chat` and the endpoints of a server use it. */

/** The members of an engine that a turn uses. */
export interface TurnEngine {
  readonly info: {
    readonly model: Pick<ModelConfig, "vocab" | "eosTokens">;
    readonly prefixCache: boolean;
    readonly limits: { readonly contextLength: number };
  };
  generate(prompt: ArrayLike<number>, options: GenerateOptions): Generation;
}

/** How to answer a prompt. */
export interface TurnOptions extends HeldTurn, Pick<ChoiceReaderOptions, "stop" | "includeStop" | "logprobs"> {
  /**
   * Sampling and limits. `stopTokens` are added to the stop tokens of the model. With `ignoreEos`, nothing constrains
   * the turn, because every constraint ends it: the caller refuses a format, a required call and a budget before.
   */
  generate: Omit<GenerateOptions, "stop" | "constraint">;
}

/**
 * Starts a turn on the engine. The answer follows the harmony format, the tool choice, the response format and the
 * budget of reasoning (`turnConstraint`). `ChoiceReader` interprets the tokens.
 *
 * @throws GptOssError as `Engine.generate` does
 */
export function beginTurn(engine: TurnEngine, memory: TurnMemory, prompt: TurnPrompt, options: TurnOptions): Turn {
  const { stopTokens: modelEnds, maskReserved: knowsHarmony } = modelTraits(engine.info.model);
  const { stopTokens = [], ignoreEos = false, ...generate } = options.generate;
  // A constraint begins with a header. The caller refuses what must be held to a form.
  const isFree = ignoreEos || prompt.continued !== undefined;
  const constraint = isFree ? undefined : turnConstraint(options, prompt.tools, knowsHarmony);
  const generation = engine.generate(prompt.tokens, {
    ...generate,
    stopTokens: [...(ignoreEos ? [] : modelEnds), ...Array.from(stopTokens)],
    ...(constraint !== undefined && { constraint }),
  });
  return new Turn(generation, memory, prompt, options, engine.info.prefixCache);
}

/** The answers of a turn while they are written. No output of the model makes it throw. */
export class Turn {
  readonly generation: Generation;
  readonly #topLogprobs: number;
  readonly #choices: readonly ChoiceReader[];
  readonly #continued: Uint32Array | undefined;

  /** Made by `beginTurn`. */
  constructor(
    generation: Generation,
    memory: TurnMemory,
    { scope, tokens, tools, continued }: TurnPrompt,
    options: TurnOptions,
    keepsPrompt: boolean,
  ) {
    const { stop, includeStop, logprobs, generate } = options;
    const stopTokens = Array.from(generate.stopTokens ?? []);
    const reader: Omit<ChoiceReaderOptions, "choice"> = {
      tools: callable(options, tools),
      stop,
      includeStop,
      logprobs,
      stopTokens: stopTokens.filter((token) => !turnEnds.includes(token)),
      promptTokens: tokens.length,
      keepsPrompt,
      endless: generate.ignoreEos === true,
      onMessage: (message, written) => memory.renderer.remember(scope, message, written),
      onCall: (callId, analysis) => memory.reasoning?.remember(callId, analysis),
    };
    this.generation = generation;
    this.#continued = continued;
    this.#topLogprobs = generate.logprobs ?? 0;
    this.#choices = Array.from({ length: generate.n ?? 1 }, (_, choice) => new ChoiceReader({ ...reader, choice }));
  }

  get promptTokens(): Uint32Array {
    return this.generation.promptTokens;
  }

  /** Resolves before the first token, with the relaxed schemas, like `Generation.accepted`. */
  get accepted(): Promise<Acceptance> {
    return this.generation.accepted;
  }

  /** Cancels every choice at its current position. The events continue up to the ends of the choices. */
  cancel(): void {
    this.generation.cancel();
  }

  /** Pauses or resumes the generation, for a reader that is behind. */
  hold(held: boolean): void {
    this.generation.hold(held);
  }

  /**
   * Returns the events of all choices, for one reader. The events of a batch belong to one choice and arrive together.
   * Leaving the loop early cancels the unfinished choices.
   *
   * @throws GptOssError of a failing engine; the reason of an abort
   */
  async *batches(): AsyncGenerator<TurnEvent[], void, undefined> {
    if (this.#continued !== undefined) for (const reader of this.#choices) yield reader.resume(this.#continued);
    for await (const tokens of this.generation.batches(streamed(this.#topLogprobs))) {
      for (const choice of this.#choices.keys()) {
        const events = this.#read(choice, tokens);
        if (events.length > 0) yield events;
      }
    }
    // Choices that were cancelled, here or by the caller: the engine marks no token of them as the last one.
    const { choices, finishReason, usage } = await this.generation.result;
    for (const [choice, reader] of this.#choices.entries()) {
      if (reader.ended) continue;
      const reason = choices?.[choice]?.finishReason ?? finishReason;
      yield reader.end({ finishReason: reason, cachedTokens: usage.cachedTokens });
    }
  }

  #read(choice: number, tokens: readonly GeneratedToken[]): TurnEvent[] {
    const reader = this.#choices[choice]!;
    const events: TurnEvent[] = [];
    for (const token of tokens) {
      if (token.index !== choice || reader.ended) continue;
      const wasStopped = reader.stopped;
      events.push(...reader.push(token));
      if (reader.stopped && !wasStopped) this.generation.cancel(choice);
      if (token.last) events.push(...reader.end(token.last));
    }
    return events;
  }
}

/** Returns the functions that may be called, even where other tools may be called too. Null: no tool may be called. */
function callable({ toolChoice, constraint }: HeldTurn, { functions, others }: DeclaredTools): string[] | null {
  const names = functions.map(({ name }) => name);
  if (constraint?.kind === "harmony") names.push(...(constraint.tools ?? []).map(({ name }) => name));
  return toolChoice.type === "none" || names.length + others.length === 0 ? null : names;
}
