import { errorText, excerpt, isObject, RequestFailure } from "./failure.js";

/** A streamed answer that came to its end. Times are in milliseconds on the clock of `performance.now()`. */
export interface CompletedRequest {
  /** When the request was sent. */
  start: number;
  /** When each piece of text arrived. Never empty. */
  pieces: number[];
  /** When the last piece arrived, or the reason for the end of the answer. */
  end: number;
  inputTokens: number;
  outputTokens: number;
  /** Whether the server told the counts. Else a piece counts as a token, and our tokenizer counted the prompt. */
  isCountedByServer: boolean;
}

/** What arrives of one answer, of either endpoint. */
export class StreamedAnswer {
  readonly #pieces: number[] = [];
  #end = Number.NaN;
  #isFinished = false;
  #usage: { input: number; output: number } | null = null;
  /** Whether the server said that nothing follows. */
  isDone = false;

  /** Takes the data of one event. @throws RequestFailure for an error in the stream, and for what is no event of an answer */
  take(data: string, at: number): void {
    if (data === "[DONE]") {
      this.isDone = true;
      return;
    }
    const event = readEvent(data);
    if (event.error) throw new RequestFailure(`the server sent an error: ${errorText(event.error, data)}`);
    this.#usage = readUsage(event.usage) ?? this.#usage;
    const choice: unknown = Array.isArray(event.choices) ? event.choices[0] : undefined;
    if (!isObject(choice)) return;
    if (hasText(choice)) {
      this.#pieces.push(at);
      this.#end = at;
    }
    if (typeof choice.finish_reason === "string" && !this.#isFinished) {
      this.#isFinished = true;
      this.#end = at;
    }
  }

  /**
   * @param estimatedInputTokens counts where the server does not
   * @throws RequestFailure for an answer that broke off or has no text
   */
  completed(start: number, estimatedInputTokens: number): CompletedRequest {
    const count = this.#pieces.length;
    if (!this.isDone && !this.#isFinished) {
      throw new RequestFailure(`the stream broke off after ${count} ${count === 1 ? "piece" : "pieces"} of text`);
    }
    if (count === 0) throw new RequestFailure("the answer had no text");
    const { input, output } = this.#usage ?? { input: estimatedInputTokens, output: count };
    return {
      start,
      pieces: this.#pieces,
      end: this.#end,
      inputTokens: input,
      outputTokens: output,
      isCountedByServer: this.#usage !== null,
    };
  }
}

function readEvent(data: string): Record<string, unknown> {
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch {
    // not JSON, as the next line says
  }
  if (!isObject(event)) throw new RequestFailure(`the server sent an event that is no JSON object: ${excerpt(data)}`);
  return event;
}

/** Counts of a server that counts; zeros come from servers that do not. */
function readUsage(usage: unknown): { input: number; output: number } | null {
  if (!isObject(usage)) return null;
  const { prompt_tokens: input, completion_tokens: output } = usage;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
  return isCount(input) && isCount(output) ? { input, output } : null;
}

/** Reasoning has two names in the field, and both are text that the model wrote. So are the parts of a call. */
const textFields = ["content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call"];

function hasText(choice: Record<string, unknown>): boolean {
  if (isFilled(choice.text)) return true;
  const { delta } = choice;
  return isObject(delta) && textFields.some((name) => isFilled(delta[name]));
}

function isFilled(value: unknown): boolean {
  if (typeof value === "string" || Array.isArray(value)) return value.length > 0;
  return isObject(value);
}
