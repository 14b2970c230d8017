import type { TurnEvent, TurnUsage } from "../../chat/turn-event.js";
import { GptOssError } from "../../errors.js";
import type { OfferedTool } from "../turn/client-tool.js";
import { type ConversationItem, conversationItem, newId } from "./conversation.js";
import { failureOf } from "./failure.js";
import { announcement, callGrowth, completion, type EventBody, growth } from "./item-events.js";
import type { OutputItem, ResponseObject, ResponseSettings, StreamEvent } from "./objects.js";
import { itemOf, messageOf, newItem, type OpenItem, type PartStart } from "./open-item.js";
import type { ReasoningForms } from "./reasoning-item.js";
import type { ReasoningSeal } from "./reasoning-seal.js";

type PartDelta = Extract<TurnEvent, { type: "part-delta" }>;
type PartEnd = Extract<TurnEvent, { type: "part-end" }>;

/**
 * Converts the events of a turn into a response, and reports each change as an event of the stream. A request without
 * `stream` runs the same code and drops the events, so both end with the same object.
 */
export class ResponseWriter {
  readonly #clock: () => Date;
  readonly #tools: readonly OfferedTool[];
  readonly #reasoning: ReasoningForms;
  readonly #output: ConversationItem[] = [];
  #response: ResponseObject;
  #open: OpenItem | null = null;
  #sequence = 0;
  /** Bytes of the finished items. */
  #bytes = 0;

  /**
   * @param tools the tools that the model may call
   * @param seal encrypts reasoning for the client; null: it is told in plain text only
   */
  constructor(
    settings: ResponseSettings,
    tools: readonly OfferedTool[],
    clock: () => Date,
    seal: ReasoningSeal | null,
  ) {
    this.#clock = clock;
    this.#tools = tools;
    this.#reasoning = { hasSummary: settings.reasoning.summary !== null, seal };
    this.#response = {
      id: newId("resp"),
      object: "response",
      created_at: seconds(clock()),
      completed_at: null,
      status: settings.background ? "queued" : "in_progress",
      error: null,
      incomplete_details: null,
      ...settings,
      output: [],
      usage: null,
    };
  }

  /** The response so far. The returned object does not change afterwards. */
  get response(): ResponseObject {
    return this.#response;
  }

  /** The items that the response adds to the conversation. */
  get output(): readonly ConversationItem[] {
    return this.#output;
  }

  /** The response with what is written of it, also of the item in progress. It does not change afterwards. */
  get soFar(): ResponseObject {
    if (this.ended) return this.#response;
    const output = this.#items();
    // Its tokens still grow, so its log probabilities are there only when it is complete.
    if (this.#open?.announced) output.push(withoutLogprobs(itemOf(this.#open, "in_progress", this.#reasoning)));
    return { ...this.#response, output };
  }

  /** Bytes of the items so far, in the measure of the store. */
  get bytes(): number {
    return this.#bytes + (this.#open === null ? 0 : 2 * this.#open.text.length + this.#open.tokens.bytes);
  }

  get ended(): boolean {
    const { status } = this.#response;
    return status !== "in_progress" && status !== "queued";
  }

  /** A background response waits for its turn first: `accept` reports its beginning. */
  opening(): StreamEvent[] {
    const { status } = this.#response;
    return ["response.created", `response.${status}`].map((type) => this.#event(type, { response: this.#response }));
  }

  accept(event: TurnEvent): StreamEvent[] {
    if (this.#response.status !== "queued") return this.#accept(event);
    this.#response = { ...this.#response, status: "in_progress" };
    return [this.#event("response.in_progress", { response: this.#response }), ...this.#accept(event)];
  }

  #accept(event: TurnEvent): StreamEvent[] {
    switch (event.type) {
      case "part-start":
        return this.#start(event);
      case "part-delta":
        return this.#delta(event);
      case "part-end":
        return this.#end(event);
      case "choice-end":
        return [this.#finish(event.finishReason === "length", event.usage)];
    }
  }

  /** Handles an engine failure after the stream began: the written text stays, and the item in progress is cut. */
  failed(error: unknown): StreamEvent[] {
    return this.#broken("failed", failureOf(error));
  }

  /** Ends the response on the client's demand. OpenAI's API has no event of its own for that. */
  cancelled(): StreamEvent[] {
    return this.#broken("cancelled", null);
  }

  #broken(status: "failed" | "cancelled", error: ResponseObject["error"]): StreamEvent[] {
    const closing = this.#open?.announced ? this.#close(this.#open, false) : [];
    this.#response = { ...this.#response, status, error, output: this.#items() };
    return [...closing, this.#event("response.failed", { response: this.#response })];
  }

  #start(start: PartStart): StreamEvent[] {
    this.#open = newItem(start, this.#output.length, this.#tools, this.#response.top_logprobs);
    // A reasoning becomes an item only if it has text, so the first delta announces it.
    return start.kind === "reasoning" ? [] : this.#announce(this.#open);
  }

  #announce(open: OpenItem): StreamEvent[] {
    open.announced = true;
    return this.#events(announcement(open, this.#reasoning));
  }

  #delta({ text, tokens }: Pick<PartDelta, "text" | "tokens">): StreamEvent[] {
    const open = this.#opened();
    const events = open.announced ? [] : this.#announce(open);
    open.text += text;
    open.tokens.push(tokens);
    return [...events, ...this.#events(growth(open, { text, tokens }, this.#reasoning))];
  }

  #end({ text, complete }: PartEnd): StreamEvent[] {
    const open = this.#opened();
    // Deltas add up to the whole.
    const rest = text.slice(open.text.length);
    const events = rest === "" ? [] : this.#delta({ text: rest, tokens: [] });
    if (open.input !== null) events.push(...this.#events(callGrowth(open, open.input.end(complete))));
    if (!open.announced) {
      this.#open = null;
      return [];
    }
    return [...events, ...this.#close(open, complete)];
  }

  #close(open: OpenItem, complete: boolean): StreamEvent[] {
    this.#open = null;
    const item = itemOf(open, complete ? "completed" : "incomplete", this.#reasoning);
    const closed = conversationItem({ ...item }, messageOf(open, complete), { more: open.tokens.bytes });
    this.#output.push(closed);
    this.#bytes += closed.bytes;
    return this.#events(completion(open, item, this.#reasoning));
  }

  #finish(cut: boolean, usage: TurnUsage): StreamEvent {
    this.#response = {
      ...this.#response,
      status: cut ? "incomplete" : "completed",
      completed_at: cut ? null : seconds(this.#clock()),
      incomplete_details: cut ? { reason: "max_output_tokens" } : null,
      output: this.#items(),
      usage: {
        input_tokens: usage.promptTokens,
        input_tokens_details: { cached_tokens: usage.cachedTokens, cache_write_tokens: usage.cacheWriteTokens },
        output_tokens: usage.completionTokens,
        output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
        total_tokens: usage.promptTokens + usage.completionTokens,
      },
    };
    return this.#event(cut ? "response.incomplete" : "response.completed", { response: this.#response });
  }

  #items(): OutputItem[] {
    return this.#output.map(({ item }) => item as unknown as OutputItem);
  }

  #opened(): OpenItem {
    if (this.#open === null) throw new GptOssError("INTERNAL", "A turn went on with a part that it had not started.");
    return this.#open;
  }

  #events(bodies: readonly EventBody[]): StreamEvent[] {
    return bodies.map(({ type, ...fields }) => this.#event(type, fields));
  }

  #event(type: string, fields: Record<string, unknown>): StreamEvent {
    return { type, sequence_number: this.#sequence++, ...fields };
  }
}

function withoutLogprobs(item: OutputItem): OutputItem {
  if (item.type !== "message") return item;
  return { ...item, content: item.content.map((part) => ({ ...part, logprobs: [] })) };
}

function seconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}
