import { SpelledTokens } from "../../chat/spelled-tokens.js";
import type { TurnEvent, TurnUsage } from "../../chat/turn-event.js";
import { GptOssError } from "../../errors.js";
import { calledTool, type OfferedTool } from "../turn/client-tool.js";
import { CustomInput } from "../turn/custom-input.js";
import { type ConversationItem, conversationItem, newId } from "./conversation.js";
import { failureOf } from "./failure.js";
import type { OutputItem, ResponseObject, ResponseSettings, StreamEvent } from "./objects.js";
import {
  itemOf,
  messageOf,
  type OpenItem,
  outputLogprob,
  outputLogprobs,
  outputText,
  type PartStart,
} from "./open-item.js";
import { type ReasoningForms, type SummaryStep, summaryFields } from "./reasoning-item.js";
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
    const tool = start.kind === "call" ? calledTool(this.#tools, start.name) : null;
    const callType = tool?.type === "custom" ? "custom_tool_call" : "function_call";
    const type = start.kind === "text" ? "message" : start.kind === "call" ? callType : "reasoning";
    this.#open = {
      start,
      id: newId(type),
      outputIndex: this.#output.length,
      text: "",
      tool,
      input: tool?.type === "custom" ? new CustomInput() : null,
      tokens: new SpelledTokens(this.#response.top_logprobs),
      announced: false,
    };
    // A reasoning becomes an item only if it has text, so the first delta announces it.
    return start.kind === "reasoning" ? [] : this.#announce(this.#open);
  }

  #announce(open: OpenItem): StreamEvent[] {
    open.announced = true;
    const item = itemOf(open, "in_progress", this.#reasoning);
    if (item.type === "reasoning") return [this.#added(open, item), ...this.#summary(open, "part.added", "")];
    if (item.type !== "message") return [this.#added(open, item)];
    return [
      this.#added(open, { ...item, content: [] }),
      this.#event("response.content_part.added", { ...this.#place(open), part: outputText(open) }),
    ];
  }

  #added(open: OpenItem, item: OutputItem): StreamEvent {
    return this.#event("response.output_item.added", { output_index: open.outputIndex, item });
  }

  #delta({ text, tokens }: Pick<PartDelta, "text" | "tokens">): StreamEvent[] {
    const open = this.#opened();
    const events = open.announced ? [] : this.#announce(open);
    open.text += text;
    open.tokens.push(tokens);
    switch (open.start.kind) {
      case "reasoning":
        events.push(
          this.#event("response.reasoning_text.delta", { ...this.#place(open), delta: text }),
          ...this.#summary(open, "text.delta", text),
        );
        break;
      case "text":
        events.push(
          this.#event("response.output_text.delta", {
            ...this.#place(open),
            delta: text,
            logprobs: tokens.map(outputLogprob),
          }),
        );
        break;
      case "call":
        events.push(...this.#callDelta(open, open.input === null ? text : open.input.push(text)));
        break;
    }
    return events;
  }

  #callDelta({ id, outputIndex, input }: OpenItem, delta: string): StreamEvent[] {
    if (delta === "") return []; // the model wrote JSON around the input
    const type = input === null ? "response.function_call_arguments.delta" : "response.custom_tool_call_input.delta";
    return [this.#event(type, { item_id: id, output_index: outputIndex, delta })];
  }

  #end({ text, complete }: PartEnd): StreamEvent[] {
    const open = this.#opened();
    // Deltas add up to the whole.
    const rest = text.slice(open.text.length);
    const events = rest === "" ? [] : this.#delta({ text: rest, tokens: [] });
    if (open.input !== null) events.push(...this.#callDelta(open, open.input.end(complete)));
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
    return [
      ...this.#contentDone(open),
      this.#event("response.output_item.done", { output_index: open.outputIndex, item }),
    ];
  }

  #contentDone(open: OpenItem): StreamEvent[] {
    const { start, id, outputIndex, text, tool, input } = open;
    switch (start.kind) {
      case "reasoning":
        return [
          this.#event("response.reasoning_text.done", { ...this.#place(open), text }),
          ...this.#summary(open, "text.done", text),
          ...this.#summary(open, "part.done", text),
        ];
      case "text":
        return [
          this.#event("response.output_text.done", { ...this.#place(open), text, logprobs: outputLogprobs(open) }),
          this.#event("response.content_part.done", { ...this.#place(open), part: outputText(open) }),
        ];
      case "call": {
        const place = { item_id: id, output_index: outputIndex };
        if (input !== null)
          return [this.#event("response.custom_tool_call_input.done", { ...place, input: input.text })];
        const { name } = tool!;
        return [this.#event("response.function_call_arguments.done", { ...place, name, arguments: text })];
      }
    }
  }

  /** The event of a step of a reasoning's summary, if a summary is asked for. */
  #summary({ id, outputIndex }: OpenItem, step: SummaryStep, text: string): StreamEvent[] {
    if (!this.#reasoning.hasSummary) return [];
    const place = { item_id: id, output_index: outputIndex, summary_index: 0 };
    return [this.#event(`response.reasoning_summary_${step}`, { ...place, ...summaryFields(step, text) })];
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

  #place(open: OpenItem): { item_id: string; output_index: number; content_index: number } {
    return { item_id: open.id, output_index: open.outputIndex, content_index: 0 };
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
