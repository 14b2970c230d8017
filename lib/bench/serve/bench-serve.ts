import { throwIfAborted } from "../../common/abort.js";
import { GptOssError } from "../../errors.js";
import type { BenchParameters, NewRow } from "../rows.js";
import { seededRandom } from "../statistics.js";
import { type CompletedRequest, StreamedAnswer } from "./answer.js";
import { Connection } from "./connection.js";
import { type Arrivals, Level } from "./level.js";
import { type LevelResult, serveValues } from "./metrics.js";
import { checkServeBenchOptions, type ServeBenchOptions } from "./options.js";
import { FilePrompts, type Prompt, type PromptSource, RandomPrompts } from "./prompts.js";
import { EventStreamReader } from "./sse.js";

/** How far a level is. */
export interface ServeProgress {
  /** `"closed loop, concurrency 8"`, or `"warm-up"`. */
  level: string;
  completed: number;
  failed: number;
  requests: number;
  outputTokens: number;
}

export interface ServeWatch {
  /** Its abort ends the bench. The row of the level that ran has what was measured until then. */
  signal: AbortSignal;
  /** Called at the start of a level and when a request ended. */
  onProgress: (progress: ServeProgress) => void;
}

/**
 * Measures a server that speaks OpenAI's API. Gives the row of a level at its end.
 *
 * @throws GptOssError INVALID_ARGUMENT for wrong options; SERVER where the server tells no model, and where no request of
 * the warm-up or of a level succeeded; the reason of the signal
 */
export async function* benchServe(options: ServeBenchOptions, watch: ServeWatch): AsyncGenerator<NewRow> {
  checkServeBenchOptions(options);
  const connection = new Connection(options.server, options.timeoutSeconds * 1000);
  try {
    const prompts = promptsOf(options);
    const model = options.model ?? (await connection.firstModel(watch.signal));
    yield* new ServeBench(options, watch, connection, prompts, model).rows();
  } finally {
    connection.close();
  }
}

function promptsOf({ promptsFile, inputTokens, outputTokens, endpoint, seed }: ServeBenchOptions): PromptSource {
  if (promptsFile !== undefined) return new FilePrompts(promptsFile, outputTokens, endpoint);
  return new RandomPrompts(inputTokens, outputTokens, seededRandom(seed));
}

const paths = { chat: "/chat/completions", completions: "/completions" };

class ServeBench {
  /** What went wrong in levels of which no request succeeded. */
  readonly #lost: string[] = [];

  constructor(
    private readonly options: ServeBenchOptions,
    private readonly watch: ServeWatch,
    private readonly connection: Connection,
    private readonly prompts: PromptSource,
    private readonly model: string,
  ) {}

  async *rows(): AsyncGenerator<NewRow> {
    const { levels, warmup, requests } = this.options;
    const { signal } = this.watch;
    if (warmup > 0) await this.#warmUp(warmup, levels[0]!);
    for (const [i, level] of levels.entries()) {
      const count = requests ?? Math.max(100, 4 * (level.kind === "closed" ? level.concurrency : 0));
      const result = await this.#load(level, count, i + 1, levelName(level));
      if (result.completed.length + result.failures.length > 0) yield this.#row(level, count, result);
      throwIfAborted(signal);
      if (result.completed.length === 0) this.#lost.push(nothingSucceeded(levelName(level), result.failures));
    }
    if (this.#lost.length > 0) throw new GptOssError("SERVER", this.#lost.join("; "));
  }

  /** A server that cannot answer at all is found here, before thousands of requests fail. */
  async #warmUp(requests: number, first: Arrivals): Promise<void> {
    const concurrency = first.kind === "closed" ? first.concurrency : 1;
    const { completed, failures } = await this.#load({ kind: "closed", concurrency }, requests, 0, "warm-up");
    throwIfAborted(this.watch.signal);
    if (completed.length === 0) throw new GptOssError("SERVER", nothingSucceeded("the warm-up", failures));
  }

  #load(arrivals: Arrivals, requests: number, index: number, name: string): Promise<LevelResult> {
    const { signal, onProgress } = this.watch;
    let outputTokens = 0;
    const show = () => {
      const { completed, failures } = level.soFar;
      onProgress({ level: name, completed: completed.length, failed: failures.length, requests, outputTokens });
    };
    const send = async (stop: AbortSignal) => {
      const answer = await this.#send(stop);
      outputTokens += answer.outputTokens;
      return answer;
    };
    const random = seededRandom(this.options.seed + index);
    const level = new Level({ arrivals, requests, random, send, signal, onEnd: show });
    show();
    return level.run();
  }

  async #send(signal: AbortSignal): Promise<CompletedRequest> {
    const prompt = this.prompts.next();
    const body = JSON.stringify(this.#body(prompt));
    const answer = new StreamedAnswer();
    let now = 0;
    const reader = new EventStreamReader((data) => answer.take(data, now));
    const start = performance.now();
    await this.connection.stream(paths[this.options.endpoint], body, signal, (chunk) => {
      now = performance.now();
      reader.push(chunk);
      return answer.isDone;
    });
    // Some servers do not end the last event.
    if (!answer.isDone && reader.end() === "[DONE]") answer.take("[DONE]", now);
    return answer.completed(start, prompt.tokens);
  }

  #body(prompt: Prompt): Record<string, unknown> {
    const { endpoint, ignoreEos, body } = this.options;
    return {
      model: this.model,
      ...(endpoint === "chat" ? { messages: prompt.messages } : { prompt: prompt.text }),
      max_tokens: prompt.maxTokens,
      stream: true,
      stream_options: { include_usage: true },
      ...(ignoreEos && { ignore_eos: true }),
      ...body,
    };
  }

  #row(level: Arrivals, requests: number, result: LevelResult): NewRow {
    const { endpoint, ignoreEos, body, serviceLevel, seed, warmup } = this.options;
    const { kind, ...load } = level;
    const parameters: BenchParameters = {
      model: this.model,
      endpoint,
      ...load,
      requests,
      ...this.prompts.parameters,
      ignoreEos,
      ...(Object.keys(body).length > 0 && { body: JSON.stringify(body) }),
      ...(serviceLevel && { slo: sloText(serviceLevel) }),
    };
    return {
      bench: "serve",
      name: kind === "closed" ? "closed-loop" : "open-loop",
      parameters,
      values: serveValues(result, serviceLevel),
      about: {
        url: this.connection.shownUrl,
        seed,
        warmup,
        tokensCountedBy: counter(result.completed),
        interrupted: this.watch.signal.aborted,
        firstError: result.failures[0] ?? null,
      },
    };
  }
}

function levelName(level: Arrivals): string {
  if (level.kind === "closed") return `closed loop, concurrency ${level.concurrency}`;
  return `open loop, ${level.rate} requests/s`;
}

function nothingSucceeded(where: string, [first]: readonly string[]): string {
  return `no request of ${where} succeeded; the first error was: ${first ?? "none"}`;
}

function sloText(bounds: NonNullable<ServeBenchOptions["serviceLevel"]>): string {
  return Object.entries(bounds)
    .map(([name, bound]) => `${name}=${bound}`)
    .join(",");
}

/** Who counted the tokens: the server in its `usage`, or this program by pieces of text; null: nothing was counted. */
function counter(completed: readonly CompletedRequest[]): string | null {
  const byServer = completed.filter(({ isCountedByServer }) => isCountedByServer).length;
  if (completed.length === 0) return null;
  if (byServer === completed.length) return "usage";
  return byServer === 0 ? "pieces" : "usage and pieces";
}
