import { randomUUID } from "node:crypto";
import type { ChoiceEnd, GeneratedToken } from "../generation/results.js";
import { type Message, messageText } from "../harmony/message.js";
import { calledTool, type ParsedDelta, type ParsedEvent, RecoveringParser } from "../harmony/recovering-parser.js";
import { formatTokens } from "../harmony/tokens.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import type { TurnEvent } from "./turn-event.js";
import { type SpelledToken, spelling, VisibleText } from "./visible-text.js";

export interface ChoiceReaderOptions {
  choice: number;
  /** Functions that may be called; with none, what is addressed to a tool is text. */
  tools: readonly string[];
  stop: readonly string[];
  includeStop: boolean;
  hasLogprobs: boolean;
  /** Stop tokens of the request's own, told as the reason. */
  stopTokens: readonly number[];
  promptTokens: number;
  /** Hears of every message that the assistant completed, with its tokens. */
  onMessage: (message: Message, tokens: readonly number[]) => void;
  /** Hears of every call that is complete, with what was thought before it. */
  onCall: (callId: string, analysis: readonly string[]) => void;
}

type Kind =
  | { kind: "reasoning" }
  | { kind: "text"; channel: "commentary" | "final" }
  | { kind: "call"; callId: string; name: string };
type Part = { number: number; text: string; visible: VisibleText | null; kind: Kind };
type Header = Pick<ParsedDelta, "channel" | "recipient">;

/** What one choice writes, token by token, as events of the turn. Takes whatever the model writes. */
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
    this.#parser = new RecoveringParser({ tools: options.tools });
  }

  /** Reads one token; once `stopped`, none counts any more. */
  push(generated: GeneratedToken): TurnEvent[] {
    if (this.stopped || this.ended) return [];
    const { token } = generated;
    this.#completionTokens++;
    this.#lastToken = token;
    this.#message.push(token);
    if (token < firstSpecialToken) this.#unread.push(generated);
    else if (token === formatTokens.message) this.#unread = [];
    this.#accept(this.#parser.push(token), false);
    return this.#taken();
  }

  /** The choice is over, as the engine says; what was under way is complete unless it was cut off. */
  end({ finishReason, cachedTokens }: ChoiceEnd): TurnEvent[] {
    const isCut = finishReason === "length" && !this.stopped;
    if (!this.stopped) this.#accept(this.#parser.end(), isCut);
    this.ended = true;
    const isCall = this.#completeCalls > 0 && !isCut && this.#stopString === null;
    this.#tell({
      type: "choice-end",
      finishReason: isCut ? "length" : isCall ? "tool_calls" : "stop",
      stopReason: isCut ? null : this.#stopReason(),
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
      if (event.type === "delta") this.#delta(event);
      else this.#complete(event.message, isCut);
    }
  }

  #delta(delta: ParsedDelta): void {
    if (delta.role !== "assistant") {
      this.stopped = true; // a model that goes on to play the user answers nobody
      return;
    }
    this.#part ??= this.#open(delta);
    const part = this.#part;
    const isSimple = this.#unread.length === 1 && !(this.#options.hasLogprobs && part.visible);
    const tokens = isSimple ? null : spelling(delta.text, this.#unread);
    if (part.kind.kind === "reasoning") this.#reasoningTokens += tokens?.length ?? 1;
    this.#unread = [];
    this.#write(part, delta.text, tokens ?? []);
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
    this.#close(part, true);
  }

  #append(part: Part, text: string, tokens: readonly SpelledToken[]): void {
    if (text === "") return;
    part.text += text;
    this.#tell({ type: "part-delta", part: part.number, text, tokens });
  }

  #complete(message: Message, isCut: boolean): void {
    if (message.role !== "assistant") {
      this.stopped = true;
      return;
    }
    const part = this.#part ?? this.#open({ channel: message.channel ?? null, recipient: message.recipient ?? null });
    if (part.visible !== null) {
      const held = part.visible.end();
      this.#append(part, held.text, held.tokens);
    }
    // The arguments of a call are always a JSON text, also of one that has none.
    if (part.kind.kind === "call" && !isCut && part.text.trim() === "") this.#append(part, "{}", []);
    if (part.kind.kind === "reasoning") this.#analysis.push(messageText(message));
    if (part.kind.kind === "call" && !isCut) {
      this.#completeCalls++;
      this.#options.onCall(part.kind.callId, [...this.#analysis]);
    }
    this.#options.onMessage(message, this.#message);
    this.#close(part, !isCut);
  }

  #open(header: Header): Part {
    const kind = this.#kindOf(header);
    const { stop, includeStop, hasLogprobs } = this.#options;
    const visible = kind.kind === "text" ? new VisibleText({ stop, includeStop, hasTokens: hasLogprobs }) : null;
    const part = { number: this.#parts++, text: "", visible, kind };
    this.#tell({ type: "part-start", part: part.number, ...kind });
    return part;
  }

  /** Functions are called on every channel but that of the answer. */
  #kindOf({ channel, recipient }: Header): Kind {
    const name = calledTool(recipient);
    const isAddressed = Boolean(name) && channel !== "final";
    if (isAddressed && this.#options.tools.length > 0) {
      return { kind: "call", callId: `call_${randomUUID().replaceAll("-", "")}`, name: name! };
    }
    if (isAddressed || channel === "commentary") return { kind: "text", channel: "commentary" };
    return channel === "analysis" ? { kind: "reasoning" } : { kind: "text", channel: "final" };
  }

  #close(part: Part, complete: boolean): void {
    this.#tell({ type: "part-end", part: part.number, text: part.text, complete, tokens: this.#message });
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
