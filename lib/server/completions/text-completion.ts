import { randomUUID } from "node:crypto";
import { SpelledTokens } from "../../chat/spelled-tokens.js";
import type { SpelledToken } from "../../chat/visible-text.js";
import type { Engine } from "../../engine.js";
import type { GenerateOptions } from "../../generation/generate-options.js";
import type { Generation } from "../../generation/generation.js";
import type { PromptLogprobs } from "../../generation/prompt-logprobs.js";
import { streamed } from "../../generation/streamed.js";
import { stopOf, withoutAbsent } from "../bodies/common-fields.js";
import { usageOf } from "../chat/answer.js";
import type { ServerContext } from "../context.js";
import { completionStream } from "../http/completion-stream.js";
import { type Blamed, namedRefusal } from "../http/error-response.js";
import { interleaved } from "../http/interleaved.js";
import { streamFailure } from "../http/stream-answer.js";
import type { Ticket } from "../limits/limits.js";
import { promptLogprobsField, scorePrompts } from "../turn/prompt-logprobs.js";
import { refuseOverflow } from "../turn/start.js";
import {
  CompletionChoice,
  type CompletionLogprobs,
  type CompletionPiece,
  completionLogprobs,
  type NameOf,
} from "./choice.js";
import { type EchoedToken, echoedTokens } from "./echo.js";
import { askedScores, type CompletionBody, endTokens, type ReadPrompt } from "./request.js";

/** A piece of the choice with this index. */
type Piece = CompletionPiece & { index: number };

/** One request's completions, of all its prompts. */
export class TextCompletion {
  readonly #body: CompletionBody;
  readonly #context: ServerContext;
  readonly #blamed: Blamed;
  readonly #head: { id: string; object: "text_completion"; created: number; model: string };
  readonly #prompts: readonly ReadPrompt[];
  readonly #options: GenerateOptions;
  readonly #ticket: Ticket;
  readonly #generations: Generation[] = [];
  /** The log probabilities of each prompt; empty: none are asked for. */
  #scores: readonly PromptLogprobs[] = [];
  readonly #choices: CompletionChoice[];
  /** The echo before the completion of each prompt. */
  readonly #echoes: string[];
  readonly #n: number;
  readonly #nameOf: NameOf;

  /** @throws ApiError when a prompt and its completion do not fit, or exceed a limit of the client */
  constructor(
    body: CompletionBody,
    prompts: readonly ReadPrompt[],
    context: ServerContext,
    generateOptions: GenerateOptions,
    blamed: Blamed,
    ticket: Ticket,
  ) {
    const { engine } = context;
    this.#body = body;
    this.#context = context;
    this.#blamed = blamed;
    this.#prompts = prompts;
    this.#options = generateOptions;
    this.#ticket = ticket;
    this.#n = body.n ?? 1;
    this.#head = {
      id: `cmpl-${randomUUID().replaceAll("-", "")}`,
      object: "text_completion",
      created: Math.floor(context.clock().getTime() / 1000),
      model: body.model,
    };
    const options = {
      stop: stopOf(body),
      includeStop: body.include_stop_str_in_output === true,
      endTokens: endTokens(body, engine),
      ownStopTokens: body.stop_token_ids ?? [],
      hasLogprobs: body.logprobs !== undefined,
      skipsSpecial: body.skip_special_tokens !== false,
    };
    this.#nameOf = ({ id, text }) => (body.return_tokens_as_token_ids === true ? `token_id:${id}` : text);
    this.#echoes = prompts.map(({ tokens }) => (body.echo === true ? engine.tokenizer.decode(tokens) : ""));
    this.#choices = this.#echoes.flatMap((echo) =>
      Array.from({ length: this.#n }, () => new CompletionChoice(options, echo.length)),
    );
    for (const { tokens } of prompts) {
      refuseOverflow(tokens.length, body.max_tokens, context.contextLength, "max_tokens");
    }
    const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
    ticket.reserve(promptTokens, prompts.length * this.#n, generateOptions.maxTokens);
  }

  /**
   * Evaluates the prompts where that is asked for, and begins all completions.
   *
   * @throws ApiError, GptOssError when the engine refuses a prompt or the constraint; it completes none of them then
   */
  async begin(signal: AbortSignal): Promise<void> {
    const { engine } = this.#context;
    const asked = askedScores(this.#body);
    if (asked !== null) {
      const { tenant, cacheSalt, priority, adapter } = this.#options;
      const options = { signal, logprobs: asked.top, ...withoutAbsent({ tenant, cacheSalt, priority, adapter }) };
      const prompts = this.#prompts.map(({ tokens }) => tokens);
      this.#scores = await scorePrompts(engine, prompts, options, asked.field, this.#n);
    }
    if (this.#body.max_tokens === 0) {
      for (const { tokens } of this.#prompts) this.#ticket.count({ promptTokens: tokens, completionTokens: 0 });
      return;
    }
    try {
      for (const { tokens, at } of this.#prompts) {
        const fieldNames = { ...this.#blamed.fieldNames, prompt: at };
        const generation = begin(engine, tokens, this.#options, { ...this.#blamed, fieldNames });
        this.#ticket.count(generation);
        this.#generations.push(generation);
      }
      await Promise.all(this.#generations.map(({ accepted }) => accepted));
    } catch (error) {
      for (const generation of this.#generations) generation.cancel();
      throw error;
    }
  }

  /** Pauses or resumes all generations, for a client that reads too slowly. */
  hold(held: boolean): void {
    for (const generation of this.#generations) generation.hold(held);
  }

  async whole(): Promise<object> {
    const told = this.#choices.map(() => ({
      tokens: new SpelledTokens(this.#body.logprobs ?? 0),
      offsets: [] as number[],
    }));
    const choices = told.map(({ tokens, offsets }, index) => ({
      index,
      text: this.#echoes[Math.floor(index / this.#n)]!,
      logprobs: this.#logprobs(this.#echoed(index), tokens, offsets),
      ...this.#promptLogprobs(index),
    }));
    for await (const { index, text, tokens, offsets, end } of this.#pieces()) {
      const choice = choices[index]!;
      choice.text += text;
      told[index]!.tokens.push(tokens);
      for (const offset of offsets) told[index]!.offsets.push(offset);
      Object.assign(choice, end);
    }
    return { ...this.#head, choices, usage: await this.#usage() };
  }

  chunks(signal: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    return completionStream({
      head: this.#head,
      pieces: this.#told(),
      options: this.#body.stream_options,
      usage: () => this.#usage(),
      failed: (error) => streamFailure(error, this.#context.logger, signal),
    });
  }

  /** Yields the choices for the chunks, one in each chunk. */
  async *#told(): AsyncGenerator<object, void, undefined> {
    const open = { logprobs: null, finish_reason: null, stop_reason: null };
    for (const index of this.#choices.keys()) {
      const text = this.#echoes[Math.floor(index / this.#n)]!;
      if (text !== "") yield { index, text, ...open, logprobs: this.#logprobs(this.#echoed(index), [], []) };
    }
    for await (const { index, text, tokens, offsets, end } of this.#pieces()) {
      if (text === "" && end === null) continue;
      yield { index, text, ...open, logprobs: this.#logprobs(nothing, tokens, offsets), ...end };
    }
  }

  #logprobs(
    echoed: () => Iterable<EchoedToken>,
    tokens: Iterable<SpelledToken>,
    offsets: Iterable<number>,
  ): CompletionLogprobs | null {
    return this.#body.logprobs === undefined ? null : completionLogprobs(echoed, tokens, offsets, this.#nameOf);
  }

  /** The tokens of the prompt before the choice with this index, if it is echoed with log probabilities. */
  #echoed(index: number): () => Iterable<EchoedToken> {
    const { echo, logprobs } = this.#body;
    const prompt = Math.floor(index / this.#n);
    const scores = this.#scores[prompt];
    if (echo !== true || logprobs === undefined || scores === undefined) return nothing;
    return () => echoedTokens(scores, this.#prompts[prompt]!.tokens, logprobs);
  }

  #promptLogprobs(index: number): object {
    const { prompt_logprobs: top } = this.#body;
    const scores = this.#scores[Math.floor(index / this.#n)];
    return top === undefined || scores === undefined ? {} : { prompt_logprobs: promptLogprobsField(scores, top) };
  }

  #pieces(): AsyncGenerator<Piece, void, undefined> {
    if (this.#body.max_tokens === 0) return this.#ends();
    return interleaved(this.#generations.map((generation, prompt) => this.#read(generation, prompt * this.#n)));
  }

  /** Yields the ends of choices that only echo. */
  async *#ends(): AsyncGenerator<Piece, void, undefined> {
    const end = { finish_reason: "length", stop_reason: null } as const;
    for (const index of this.#choices.keys()) yield { index, text: "", tokens: [], offsets: [], end };
  }

  /** Yields the pieces of one prompt's `n` choices, numbered from `first` on. */
  async *#read(generation: Generation, first: number): AsyncGenerator<Piece, void, undefined> {
    try {
      for await (const batch of generation.batches(streamed(this.#body.logprobs ?? null))) {
        for (let choice = 0; choice < this.#n; choice++) {
          const tokens = batch.filter(({ index }) => index === choice);
          const reader = this.#choices[first + choice]!;
          if (tokens.length === 0 || reader.stopped) continue;
          yield { index: first + choice, ...reader.push(tokens) };
          if (reader.stopped) generation.cancel(choice);
        }
      }
    } catch (error) {
      throw namedRefusal(error, this.#blamed);
    }
  }

  async #usage(): Promise<object> {
    const usages = await Promise.all(
      this.#prompts.map(async ({ tokens: promptTokens }, prompt) => {
        // A prompt whose log probabilities are asked for is computed whole, and only then found in the cache.
        const isScored = this.#scores.length > 0;
        const result = await this.#generations[prompt]?.result;
        const cachedTokens = isScored ? 0 : (result?.usage.cachedTokens ?? 0);
        const { prefixCache } = this.#context.engine.info;
        const choices = this.#choices.slice(prompt * this.#n, (prompt + 1) * this.#n);
        const completionTokens = choices.reduce((sum, { tokens }) => sum + tokens, 0);
        const isComputed = isScored || result !== undefined;
        const cacheWriteTokens = prefixCache && isComputed ? promptTokens.length - cachedTokens : 0;
        return { promptTokens: promptTokens.length, cachedTokens, cacheWriteTokens, completionTokens };
      }),
    );
    const sum = (key: keyof (typeof usages)[number]) => usages.reduce((total, usage) => total + usage[key], 0);
    return usageOf([
      {
        promptTokens: sum("promptTokens"),
        cachedTokens: sum("cachedTokens"),
        cacheWriteTokens: sum("cacheWriteTokens"),
        completionTokens: sum("completionTokens"),
        reasoningTokens: 0,
      },
    ]);
  }
}

const nothing = (): [] => [];

function begin(engine: Engine, tokens: Uint32Array, options: GenerateOptions, blamed: Blamed): Generation {
  try {
    return engine.generate(tokens, options);
  } catch (error) {
    throw namedRefusal(error, blamed);
  }
}
