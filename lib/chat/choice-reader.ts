import { randomUUID } from "node:crypto";
import type { ChoiceEnd, GeneratedToken } from "../generation/results.js";
import { type Message, messageText } from "../harmony/message.js";
import { messageOf } from "../harmony/parser.js";
import { calledTool, type ParsedDelta, type ParsedEvent, RecoveringParser } from "../harmony/recovering-parser.js";
import { formatTokens, turnEnds } from "../harmony/tokens.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import type { PartHeader, PartKind, TurnEvent } from "./turn-event.js";
import { type SpelledToken, spelling, VisibleText } from "./visible-text.js";

export interface ChoiceReaderOptions {
  choice: number;
  /** Functions that may be called. Null: no tool may be called, and a message to a tool is text. */
  tools: readonly string[] | null;
  stop: readonly string[];
  includeStop: boolean;
  /** Which parts carry their tokens in the deltas. */
  logprobs: "none" | "visible" | "all";
  /** The stop tokens that the request adds. They are reported as the stop reason. */
  stopTokens: readonly number[];
  promptTokens: number;
  /** Whether the engine keeps the prompt for later ones. */
  keepsPrompt: boolean;
  /** The turn goes on past its end: messages of other roles are passed over, and only a limit ends the choice. */
  endless: boolean;
  /** Called with every message that the assistant completes, and with its tokens. */
  onMessage: (message: Message, tokens: readonly number[]) => void;
  /** Called with every complete call, and with the reasoning before it. */
  onCall: (callId: string, analysis: readonly string[]) => void;
}

interface Part {
  number: number;
  kind: PartKind;
  header: PartHeader;
  text: string;
  hasTokens: boolean;
  /** Null: the part needs no search for stop strings and reports no tokens. */
  visible: VisibleText | null;
}

/**
 * Turns the tokens of one choice into the events of the turn. It accepts any token sequence. The meaning is the same
 * for `Engine.chat` and for every endpoint:
 *
 * - A message on the analysis channel is reasoning. A message to a tool is a call, on every channel but `final`. Any
 *   other message is text for the user, and so is a message to a tool where no tool may be called.
 * - Stop strings are searched for in text for the user, in each message separately. A stop string ends the choice with
 *   "stop". The message ends before the stop string and is complete. It is not remembered, because the model wrote
 *   more. A possible beginning of a stop string is held back, and reported when the message ends.
 * - Where the model begins a message in another role, the choice ends with "stop". That message is not reported. An
 *   endless turn goes on after it.
 * - The arguments of a complete call are a JSON text: "{}" where the model wrote none.
 * - An unfinished message is complete at "stop". At "length" and "cancelled" it is not. A call that is cut off is
 *   reported as far as it goes, but the finish reason is not "tool_calls".
 * - A turn that ends with "length" and a token that ends turns was cut as well: its constraint closed the last message
 *   in time, where the model would have written more. So this message is not complete.
 */
export class ChoiceReader {
  /** A stop string came, or the model began another role: all further tokens are outside the answer. */
  stopped = false;
  ended = false;

  readonly #options: ChoiceReaderOptions;
  readonly #parser: RecoveringParser;
  #events: TurnEvent[] = [];
  #part: Part | null = null;
  #parts = 0;
  /** The tokens since the last complete message. */
  #message: number[] = [];
  /** The tokens of the current message that may be text and were not yet reported. */
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

  /** Begins within a final message that the prompt leaves open. Only what follows is reported. */
  resume(tokens: Iterable<number>): TurnEvent[] {
    for (const token of tokens) {
      this.#message.push(token);
      this.#parser.push(token);
    }
    this.#part = this.#open({ channel: "final", recipient: null, contentType: null });
    return this.#taken();
  }

  /** Reads one token. Tokens after `stopped` are ignored. */
  push(generated: GeneratedToken): TurnEvent[] {
    if (this.stopped || this.ended) return [];
    const { token } = generated;
    this.#completionTokens++;
    this.#lastToken = token;
    this.#message.push(token);
    if (token < firstSpecialToken) this.#unread.push(generated);
    else if (token === formatTokens.message) this.#unread = []; // the tokens before it are a header
    const isClosedInTime = generated.last?.finishReason === "length" && turnEnds.includes(token);
    this.#accept(this.#parser.push(token), isClosedInTime);
    return this.#taken();
  }

  /** Ends the choice with the result of the engine. */
  end({ finishReason, cachedTokens }: ChoiceEnd): TurnEvent[] {
    const cut = this.stopped || finishReason === "stop" ? null : finishReason;
    if (!this.stopped) this.#accept(this.#parser.end(), cut !== null);
    this.ended = true;
    const isCall = this.#completeCalls > 0 && this.#stopString === null;
    const { promptTokens, keepsPrompt } = this.#options;
    this.#tell({
      type: "choice-end",
      finishReason: cut ?? (isCall ? "tool_calls" : "stop"),
      stopReason: cut === null ? this.#stopReason() : null,
      usage: {
        promptTokens,
        cachedTokens,
        cacheWriteTokens: keepsPrompt ? promptTokens - cachedTokens : 0,
        completionTokens: this.#completionTokens,
        reasoningTokens: this.#reasoningTokens,
      },
      ...(this.#parser.strayCharacters > 0 && { strayCharacters: this.#parser.strayCharacters }),
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
      if (role !== "assistant") this.#otherRole(event);
      else if (event.type === "delta") this.#delta(event);
      else this.#complete(event.message, isCut);
    }
  }

  #otherRole({ type }: ParsedEvent): void {
    if (!this.#options.endless) {
      this.stopped = true;
    } else if (type === "message") {
      this.#message = [];
      this.#unread = [];
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

  /** @param message as it was written; it is reported with the text of the part */
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
