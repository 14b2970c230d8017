import { randomUUID } from "node:crypto";
import type { ChoiceEnd, GeneratedToken } from "../generation/results.js";
import { type Message, messageText } from "../harmony/message.js";
import { messageOf } from "../harmony/parser.js";
import { calledTool, type ParsedDelta, type ParsedEvent, RecoveringParser } from "../harmony/recovering-parser.js";
import { formatTokens } from "../harmony/tokens.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import type { PartHeader, PartKind, TurnEvent } from "./turn-event.js";
import { type SpelledToken, spelling, VisibleText } from "./visible-text.js";

export interface ChoiceReaderOptions {
  choice: number;
  /** Functions that may be called; null: no tool may be, and what is addressed to one is text. */
  tools: readonly string[] | null;
  stop: readonly string[];
  includeStop: boolean;
  /** Of which parts the deltas have their tokens. */
  logprobs: "none" | "visible" | "all";
  /** Stop tokens of the request's own, told as the reason. */
  stopTokens: readonly number[];
  promptTokens: number;
  /** Called with every message as the assistant wrote it, and its tokens. */
  onMessage: (message: Message, tokens: readonly number[]) => void;
  /** Called with every call that is complete, and what was thought before it. */
  onCall: (callId: string, analysis: readonly string[]) => void;
}

interface Part {
  number: number;
  kind: PartKind;
  header: PartHeader;
  text: string;
  hasTokens: boolean;
  /** Null: neither are stop strings looked for nor tokens told. */
  visible: VisibleText | null;
}

/**
 * What one choice writes, token by token, as events of the turn. It takes whatever the model writes. What that means is
 * the same for `Engine.chat` and for every endpoint:
 *
 * - A message on the analysis channel is a reasoning. One that is addressed to a tool is a call, on every channel but
 *   `final`. All else is text for the user; so is a message to a tool where none may be called.
 * - A stop string is looked for in text for the user, in each message by itself. It ends the choice with "stop". The
 *   message ends before it and is complete; it is not remembered, because the model wrote more. What only begins as a
 *   stop string is held back, and told when the message ends.
 * - Where the model goes on to play somebody else, the choice has ended with "stop". Nothing of that is told.
 * - The arguments of a complete call are a JSON text: "{}" where the model wrote none.
 * - A message under way is complete at "stop". At "length" and "cancelled" it is not. A call that is cut off is told as
 *   far as it goes, but the choice did not end with it.
 */
export class ChoiceReader {
  /** Nothing that the model goes on to write belongs to the answer: a stop string came, or it plays somebody else. */
  stopped = false;
  ended = false;

  readonly #options: ChoiceReaderOptions;
  readonly #parser: RecoveringParser;
  #events: TurnEvent[] = [];
  #part: Part | null = null;
  #parts = 0;
  /** Read since the last message was complete. */
  #message: number[] = [];
  /** Of these, what may be its text and has not been told of. */
  #unread: GeneratedToken[] = [];
  readonly #analysis: string[] = [];
  #completeCalls = 0;
  #completionTokens = 0;
  #reasoningTokens = 0;
  #lastToken = -1;
  #stopString: string | null = null;

  constructor(options: ChoiceReaderOptions) {
    this.#options = options;
    this.#parser = new RecoveringParser({ tools: options.tools ?? [] });
  }

  /** Reads one token; once `stopped`, none counts any more. */
  push(generated: GeneratedToken): TurnEvent[] {
    if (this.stopped || this.ended) return [];
    const { token } = generated;
    this.#completionTokens++;
    this.#lastToken = token;
    this.#message.push(token);
    if (token < firstSpecialToken) this.#unread.push(generated);
    else if (token === formatTokens.message) this.#unread = []; // what stood before is a header
    this.#accept(this.#parser.push(token), false);
    return this.#taken();
  }

  /** The choice is over, as the engine says. */
  end({ finishReason, cachedTokens }: ChoiceEnd): TurnEvent[] {
    const cut = this.stopped || finishReason === "stop" ? null : finishReason;
    if (!this.stopped) this.#accept(this.#parser.end(), cut !== null);
    this.ended = true;
    const isCall = this.#completeCalls > 0 && this.#stopString === null;
    this.#tell({
      type: "choice-end",
      finishReason: cut ?? (isCall ? "tool_calls" : "stop"),
      stopReason: cut === null ? this.#stopReason() : null,
      usage: {
        promptTokens: this.#options.promptTokens,
        cachedTokens,
        completionTokens: this.#completionTokens,
        reasoningTokens: this.#reasoningTokens,
      },
    });
    return this.#taken();
  }

  #stopReason(): string | number | null {
    if (this.#stopString !== null) return this.#stopString;
    return this.#options.stopTokens.includes(this.#lastToken) ? this.#lastToken : null;
  }

  #accept(events: readonly ParsedEvent[], isCut: boolean): void {
    for (const event of events) {
      if (this.stopped) return;
      const { role } = event.type === "delta" ? event : event.message;
      if (role !== "assistant") this.stopped = true;
      else if (event.type === "delta") this.#delta(event);
      else this.#complete(event.message, isCut);
    }
  }

  #delta({ text, channel, recipient, contentType }: ParsedDelta): void {
    this.#part ??= this.#open({ channel, recipient, contentType });
    const part = this.#part;
    const isSimple = this.#unread.length === 1 && !part.hasTokens;
    const tokens = isSimple ? null : spelling(text, this.#unread);
    if (part.kind.kind === "reasoning") this.#reasoningTokens += tokens?.length ?? 1;
    this.#unread = [];
    this.#write(part, text, tokens ?? []);
  }

  #write(part: Part, text: string, tokens: readonly SpelledToken[]): void {
    if (part.visible === null) {
      this.#append(part, text, []);
      return;
    }
    const piece = part.visible.push(text, tokens);
    this.#append(part, piece.text, piece.tokens);
    if (piece.stop === null) return;
    this.#stopString = piece.stop;
    this.stopped = true;
    this.#close(part, messageOf({ role: "assistant", name: null, ...part.header }, ""), true);
  }

  #append(part: Part, text: string, tokens: readonly SpelledToken[]): void {
    if (text === "" && tokens.length === 0) return;
    part.text += text;
    this.#tell({ type: "part-delta", part: part.number, text, tokens });
  }

  #complete(message: Message, isCut: boolean): void {
    const { channel = null, recipient = null, content_type: contentType = null } = message;
    const part = this.#part ?? this.#open({ channel, recipient, contentType });
    if (part.visible !== null) {
      const held = part.visible.end();
      this.#append(part, held.text, held.tokens);
    }
    const { kind } = part;
    if (kind.kind === "reasoning") this.#analysis.push(messageText(message));
    if (kind.kind === "call" && !isCut) {
      if (part.text.trim() === "") this.#append(part, "{}", []);
      this.#completeCalls++;
      this.#options.onCall(kind.callId, [...this.#analysis]);
    }
    this.#options.onMessage(message, this.#message);
    this.#close(part, message, !isCut);
  }

  #open(header: PartHeader): Part {
    const kind = this.#kindOf(header);
    const { includeStop, logprobs } = this.#options;
    const isText = kind.kind === "text";
    const hasTokens = logprobs === "all" || (logprobs === "visible" && isText);
    const stop = isText ? this.#options.stop : [];
    const visible = isText || hasTokens ? new VisibleText({ stop, includeStop, hasTokens }) : null;
    const part = { number: this.#parts++, kind, header, text: "", hasTokens, visible };
    this.#tell({ type: "part-start", part: part.number, header, ...kind });
    return part;
  }

  #kindOf({ channel, recipient }: PartHeader): PartKind {
    const name = calledTool(recipient);
    if (name && channel !== "final") {
      if (this.#options.tools === null) return { kind: "text", channel: "commentary" };
      return { kind: "call", callId: `call_${randomUUID().replaceAll("-", "")}`, name };
    }
    if (channel === "commentary") return { kind: "text", channel };
    return channel === "analysis" ? { kind: "reasoning" } : { kind: "text", channel: "final" };
  }

  /** @param message as it was written; it is told with the text of the part */
  #close({ number, kind, text }: Part, message: Message, complete: boolean): void {
    const told: Message = {
      ...message,
      ...(kind.kind === "call" && { id: kind.callId }),
      content: [{ type: "text", text }],
    };
    this.#tell({ type: "part-end", part: number, text, complete, message: told, tokens: this.#message });
    this.#part = null;
    this.#message = [];
    this.#unread = [];
  }

  #tell(event: DistributiveOmit<TurnEvent, "choice">): void {
    this.#events.push({ choice: this.#options.choice, ...event });
  }

  #taken(): TurnEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
