import type { TurnEvent } from "../../chat/turn-event.js";
import type { OutputItem } from "./objects.js";
import { itemOf, type OpenItem, outputLogprob, outputLogprobs, outputText } from "./open-item.js";
import { type ReasoningForms, type SummaryStep, summaryFields } from "./reasoning-item.js";

/** The events of the stream that tell how an item begins, grows and ends. */

/** An event without its place in the stream. */
export type EventBody = { type: string } & Record<string, unknown>;

type PartDelta = Extract<TurnEvent, { type: "part-delta" }>;

/** The events of an item that begins. */
export function announcement(open: OpenItem, reasoning: ReasoningForms): EventBody[] {
  const item = itemOf(open, "in_progress", reasoning);
  if (item.type === "reasoning") return [added(open, item), ...summary(open, "part.added", "", reasoning)];
  if (item.type !== "message") return [added(open, item)];
  return [
    added(open, { ...item, content: [] }),
    { type: "response.content_part.added", ...placeOf(open), part: outputText(open) },
  ];
}

/** The events of further text of an item. */
export function growth(
  open: OpenItem,
  { text, tokens }: Pick<PartDelta, "text" | "tokens">,
  reasoning: ReasoningForms,
): EventBody[] {
  switch (open.start.kind) {
    case "reasoning":
      return [
        { type: "response.reasoning_text.delta", ...placeOf(open), delta: text },
        ...summary(open, "text.delta", text, reasoning),
      ];
    case "text":
      return [
        {
          type: "response.output_text.delta",
          ...placeOf(open),
          delta: text,
          logprobs: tokens.map(outputLogprob),
        },
      ];
    case "call":
      return callGrowth(open, open.input === null ? text : open.input.push(text));
  }
}

/** The event of further arguments or input of a call. None without text: the model wrote JSON around an input. */
export function callGrowth({ id, outputIndex, input }: OpenItem, delta: string): EventBody[] {
  if (delta === "") return [];
  const type = input === null ? "response.function_call_arguments.delta" : "response.custom_tool_call_input.delta";
  return [{ type, item_id: id, output_index: outputIndex, delta }];
}

/** The events of an item that ends as `item`. */
export function completion(open: OpenItem, item: OutputItem, reasoning: ReasoningForms): EventBody[] {
  return [...contentDone(open, reasoning), { type: "response.output_item.done", output_index: open.outputIndex, item }];
}

function contentDone(open: OpenItem, reasoning: ReasoningForms): EventBody[] {
  const { start, id, outputIndex, text, tool, input } = open;
  switch (start.kind) {
    case "reasoning":
      return [
        { type: "response.reasoning_text.done", ...placeOf(open), text },
        ...summary(open, "text.done", text, reasoning),
        ...summary(open, "part.done", text, reasoning),
      ];
    case "text":
      return [
        { type: "response.output_text.done", ...placeOf(open), text, logprobs: outputLogprobs(open) },
        { type: "response.content_part.done", ...placeOf(open), part: outputText(open) },
      ];
    case "call": {
      const place = { item_id: id, output_index: outputIndex };
      if (input !== null) return [{ type: "response.custom_tool_call_input.done", ...place, input: input.text }];
      const { name } = tool!;
      return [{ type: "response.function_call_arguments.done", ...place, name, arguments: text }];
    }
  }
}

function added(open: OpenItem, item: OutputItem): EventBody {
  return { type: "response.output_item.added", output_index: open.outputIndex, item };
}

/** The event of a step of a reasoning's summary, if a summary is asked for. */
function summary({ id, outputIndex }: OpenItem, step: SummaryStep, text: string, forms: ReasoningForms): EventBody[] {
  if (!forms.hasSummary) return [];
  const place = { item_id: id, output_index: outputIndex, summary_index: 0 };
  return [{ type: `response.reasoning_summary_${step}`, ...place, ...summaryFields(step, text) }];
}

function placeOf(open: OpenItem): { item_id: string; output_index: number; content_index: number } {
  return { item_id: open.id, output_index: open.outputIndex, content_index: 0 };
}
