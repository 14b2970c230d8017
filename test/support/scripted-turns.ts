import { chatConversation } from "../../lib/chat/messages.js";
import type { PartHeader, TurnEvent, TurnUsage } from "../../lib/chat/turn-event.js";
import type { SpelledToken } from "../../lib/chat/visible-text.js";
import { messageOf } from "../../lib/harmony/parser.js";
import type { Turn, TurnRequest } from "../../lib/server/turn/turn.js";
import { tokenizer } from "../../lib/tokenizer/index.js";

/** Turns of the assistant that tests write, instead of a model. */

export type ScriptedPart =
  | { kind: "reasoning"; text: string }
  | { kind: "text"; channel: "commentary" | "final"; text: string }
  | { kind: "call"; callId: string; name: string; text: string };

export interface TurnEnding {
  finishReason?: "stop" | "length" | "tool_calls";
  usage?: Partial<TurnUsage>;
  /** Characters of one delta. Default 3. */
  deltaLength?: number;
  /** Ends after this many characters, in any part. */
  cutAt?: number;
  /** Each delta is one token with log probability -1 and one likely alternative. */
  logprobs?: boolean;
}

/** Events that arrive one by one, or the test's own sequence. */
export type ScriptedTurn = readonly TurnEvent[] | ((request: TurnRequest) => AsyncIterable<TurnEvent>);

export const reasoning = (text: string): ScriptedPart => ({ kind: "reasoning", text });
export const preamble = (text: string): ScriptedPart => ({ kind: "text", channel: "commentary", text });
export const final = (text: string): ScriptedPart => ({ kind: "text", channel: "final", text });
export const call = (name: string, argumentsText: string, callId = "call_1"): ScriptedPart => ({
  kind: "call",
  callId,
  name,
  text: argumentsText,
});

export function turn(parts: readonly ScriptedPart[], ending: TurnEnding = {}): TurnEvent[] {
  const { deltaLength = 3, cutAt = Number.POSITIVE_INFINITY, logprobs = false } = ending;
  const events: TurnEvent[] = [];
  let left = cutAt;
  let isCut = false;
  for (const [part, written] of parts.entries()) {
    if (isCut) break;
    const text = written.text.slice(0, left);
    left -= text.length;
    isCut = left === 0;
    const header = headerOf(written);
    events.push({ choice: 0, type: "part-start", part, header, ...startOf(written) });
    for (let at = 0; at < text.length; at += deltaLength) {
      const piece = text.slice(at, at + deltaLength);
      const isVisible = logprobs && written.kind === "text";
      events.push({ choice: 0, type: "part-delta", part, text: piece, tokens: isVisible ? [spelled(piece)] : [] });
    }
    const message = messageOf({ role: "assistant", name: null, ...header }, text);
    events.push({ choice: 0, type: "part-end", part, text, complete: !isCut, message, tokens: [] });
  }
  const hasCall = parts.some(({ kind }) => kind === "call");
  events.push({
    choice: 0,
    type: "choice-end",
    finishReason: ending.finishReason ?? (isCut ? "length" : hasCall ? "tool_calls" : "stop"),
    stopReason: null,
    usage: {
      promptTokens: 20,
      cachedTokens: 8,
      cacheWriteTokens: 12,
      completionTokens: 12,
      reasoningTokens: 5,
      ...ending.usage,
    },
  });
  return events;
}

function headerOf(part: ScriptedPart): PartHeader {
  if (part.kind === "call") return { channel: "commentary", recipient: `functions.${part.name}`, contentType: null };
  return { channel: part.kind === "text" ? part.channel : "analysis", recipient: null, contentType: null };
}

function startOf(part: ScriptedPart) {
  const { text: _, ...start } = part;
  return start;
}

function spelled(text: string): SpelledToken {
  const [token] = tokenizer.encode(text);
  const logprob = -1;
  return { token: { token: token!, text, logprob, index: 0, top: [{ token: 0, logprob }] }, bytes: Buffer.from(text) };
}

/** Plays its turns in order, one for each request, and then starts again. Records the requests. */
export class TurnPlayer {
  readonly requests: TurnRequest[] = [];
  readonly #turns: readonly ScriptedTurn[];

  constructor(turns: readonly ScriptedTurn[]) {
    this.#turns = turns;
  }

  get last(): TurnRequest {
    return this.requests.at(-1)!;
  }

  start(request: TurnRequest): Turn {
    const script = this.#turns[this.requests.length % this.#turns.length]!;
    this.requests.push(request);
    checkConversation(request);
    const events = typeof script === "function" ? script(request) : played(script, request.signal);
    return Object.assign(events, { promptTokens: new Uint32Array(), relaxed: [], hold: () => {} });
  }
}

/** Checks that a conversation can be rendered: endpoints must refuse any other. */
function checkConversation({ messages, instructions, tools, date, effort }: TurnRequest): void {
  chatConversation(messages, {
    developerInstructions: instructions ?? undefined,
    tools: tools.map(({ name, description, parameters }) => ({
      type: "function",
      function: { name, description: description ?? "", parameters: parameters ?? null },
    })),
    currentDate: date,
    reasoningEffort: effort,
  });
}

async function* played(events: readonly TurnEvent[], signal: AbortSignal): AsyncGenerator<TurnEvent> {
  for (const event of events) {
    await Promise.resolve();
    signal.throwIfAborted();
    yield event;
  }
}
