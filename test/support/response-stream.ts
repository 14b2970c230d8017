import { expect } from "vitest";
import type { OutputItem, ResponseObject, StreamEvent, SummaryText } from "../../lib/server/responses/objects.js";

/** Events of a response stream's text. Each must carry its type twice, and only comments may stand beside them. */
export function streamEvents(text: string): StreamEvent[] {
  expect(text.endsWith("\n\n")).toBe(true);
  const blocks = text.slice(0, -2).split("\n\n");
  return blocks
    .filter((block) => !block.startsWith(":"))
    .map((block) => {
      const [, name, data] = /^event: (\S+)\ndata: (.+)$/.exec(block) ?? [];
      expect(data, `not an event: ${block}`).toBeDefined();
      const event = JSON.parse(data!) as StreamEvent;
      expect(event.type).toBe(name);
      return event;
    });
}

/** The events that must follow while an item is written, by the item's type. */
const itemGrammar: Readonly<Record<string, RegExp>> = {
  reasoning: /^added( reasoning_text\.delta)* reasoning_text\.done done$/,
  summarised:
    /^added reasoning_summary_part\.added( reasoning_text\.delta reasoning_summary_text\.delta)* reasoning_text\.done reasoning_summary_text\.done reasoning_summary_part\.done done$/,
  message: /^added content_part\.added( output_text\.delta)* output_text\.done content_part\.done done$/,
  function_call: /^added( function_call_arguments\.delta)* function_call_arguments\.done done$/,
  custom_tool_call: /^added( custom_tool_call_input\.delta)* custom_tool_call_input\.done done$/,
};

/**
 * The response that a client builds from all events except the last. Fails on events out of order, on gaps in their
 * numbers, and when the final object differs.
 */
export function replayed(events: readonly StreamEvent[]): ResponseObject {
  expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, index) => index));
  const [created, inProgress, ...rest] = events;
  expect([created?.type, inProgress?.type]).toEqual(["response.created", "response.in_progress"]);
  expect(inProgress?.response).toEqual(created?.response);
  const last = rest.pop()!;
  const started = created?.response as ResponseObject;
  expect(started).toMatchObject({ status: "in_progress", output: [], usage: null, completed_at: null, error: null });

  const items = splitItems(rest);
  const output = items.map((item, index) => replayItem(item, index));
  const ended = last.response as ResponseObject;
  expect(last.type).toBe(`response.${ended.status}`);
  const { completed_at, status, incomplete_details, error, usage } = ended;
  const response = { ...started, output, completed_at, status, incomplete_details, error, usage };
  expect(ended).toEqual(response);
  return response;
}

/** The events of each item; they must not interleave. */
function splitItems(events: readonly StreamEvent[]): StreamEvent[][] {
  const items: StreamEvent[][] = [];
  for (const event of events) {
    if (event.type === "response.output_item.added") items.push([]);
    items.at(-1)!.push(event);
    expect(event.output_index).toBe(items.length - 1);
  }
  return items;
}

function replayItem(events: readonly StreamEvent[], index: number): OutputItem {
  const added = events[0]!.item as OutputItem;
  const done = events.at(-1)!.item as OutputItem;
  const names = events.map(({ type }) => type.replace(/^response\.(output_item\.)?/, ""));
  const summary = events.filter(({ type }) => type.includes("_summary_"));
  expect(names.join(" ")).toMatch(itemGrammar[summary.length > 0 ? "summarised" : added.type]!);
  expect(added).toMatchObject({ status: "in_progress", id: done.id, type: done.type });
  for (const event of events.slice(1, -1)) {
    expect(event).toMatchObject({ item_id: added.id, output_index: index });
    if (summary.includes(event)) expect(event.summary_index).toBe(0);
    else if (!added.type.endsWith("_call")) expect(event.content_index).toBe(0);
  }
  const deltas = events.filter((event) => event.type.endsWith(".delta") && !summary.includes(event));
  for (const { delta } of deltas) expect(delta).not.toBe("");
  const text = deltas.map(({ delta }) => delta).join("");
  const end = events.find(({ type }) => /(text|arguments|input)\.done$/.test(type))!;
  expect(end.text ?? end.arguments ?? end.input).toBe(text);

  const replayed = withText(added, text, events, deltas);
  if (replayed.type === "reasoning" && summary.length > 0) replayed.summary = [summaryOf(summary, text)];
  // Only a complete item has it.
  const sealed = done.type === "reasoning" && "encrypted_content" in done && { encrypted_content: expect.any(String) };
  expect(done).toEqual({ ...replayed, ...sealed, status: done.status });
  return done;
}

/** The part that the events of a summary make. The model writes none, so its text is that of the reasoning. */
function summaryOf(events: readonly StreamEvent[], text: string): SummaryText {
  const part: SummaryText = { type: "summary_text", text };
  expect(events[0]!.part).toEqual({ ...part, text: "" });
  expect(events.flatMap(({ delta }) => delta ?? []).join("")).toBe(text);
  expect(events.at(-2)!.text).toBe(text);
  expect(events.at(-1)!.part).toEqual(part);
  return part;
}

/** The item of the first event, with the text of its deltas. */
function withText(
  added: OutputItem,
  text: string,
  events: readonly StreamEvent[],
  deltas: readonly StreamEvent[],
): OutputItem {
  switch (added.type) {
    case "reasoning":
      return { ...added, content: [{ type: "reasoning_text", text }] };
    case "function_call":
      expect(added.arguments).toBe("");
      expect(events.at(-2)!.name).toBe(added.name);
      return { ...added, arguments: text };
    case "custom_tool_call":
      expect(added.input).toBe("");
      return { ...added, input: text };
    case "message": {
      expect(added.content).toEqual([]);
      const part = { type: "output_text", text: "", annotations: [], logprobs: [] } as const;
      expect(events[1]!.part).toEqual(part);
      const logprobs = deltas.flatMap((delta) => delta.logprobs as never[]);
      const whole = { ...part, text, annotations: [], logprobs };
      expect(events.at(-2)!.part).toEqual(whole);
      expect(events.at(-3)!.logprobs).toEqual(logprobs);
      return { ...added, content: [whole] };
    }
  }
}
