import type { GeneratedToken, PositionLogprobs } from "../generation/results.js";
import type { Message } from "../harmony/message.js";
import { messageOf } from "../harmony/parser.js";
import { calledTool, type ParsedDelta, type ParsedEvent, RecoveringParser } from "../harmony/recovering-parser.js";
import { formatTokens } from "../harmony/tokens.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import { type SpelledToken, spelling, VisibleText } from "./visible-text.js";

/** A piece of a message. `logprobs`, when they were asked for: one for each token that ends in `text`. */
export type ChatDelta = ParsedDelta & { logprobs?: PositionLogprobs[] };

/** A message that is complete. `logprobs`, when they were asked for: those of its text, control tokens and header left out. */
export interface ChatMessageEvent {
  type: "message";
  message: Message;
  logprobs?: PositionLogprobs[];
}

export interface ChatReaderOptions {
  /** Functions that may be called, without the namespace. */
  tools: readonly string[];
  /** Texts that end the answer where the user would see them. */
  stop: readonly string[];
  hasLogprobs: boolean;
  /** Hears of every message that is complete as the model wrote it, with its tokens. */
  onMessage: (message: Message, tokens: readonly number[]) => void;
}

interface Part {
  header: Omit<ParsedDelta, "type" | "text">;
  text: string;
  visible: VisibleText;
  logprobs: PositionLogprobs[];
}

/** What one answer writes, token by token, as events of a chat. Takes whatever the model writes. */
export class ChatReader {
  readonly messages: Message[] = [];
  /** Of each of `messages`, when they were asked for. */
  readonly logprobs: PositionLogprobs[][] = [];
  /** A stop string came: nothing that the model goes on to write belongs to the answer. */
  stopped = false;

  readonly #options: ChatReaderOptions;
  readonly #parser: RecoveringParser;
  #events: (ChatDelta | ChatMessageEvent)[] = [];
  #part: Part | null = null;
  /** Read since the last message was complete. */
  #message: number[] = [];
  /** Of these, what may be its text and has not been told of. */
  #unread: GeneratedToken[] = [];

  constructor(options: ChatReaderOptions) {
    this.#options = options;
    this.#parser = new RecoveringParser({ tools: options.tools });
  }

  /** Reads one token; once `stopped`, none counts any more. */
  push(generated: GeneratedToken): readonly (ChatDelta | ChatMessageEvent)[] {
    if (this.stopped) return [];
    const { token } = generated;
    this.#message.push(token);
    if (this.#options.hasLogprobs) {
      if (token < firstSpecialToken) this.#unread.push(generated);
      else if (token === formatTokens.message) this.#unread = []; // what stood before is a header
    }
    return this.#accept(this.#parser.push(token));
  }

  /** The answer is over; what was under way is complete as it is. */
  end(): readonly (ChatDelta | ChatMessageEvent)[] {
    return this.stopped ? [] : this.#accept(this.#parser.end());
  }

  #accept(events: readonly ParsedEvent[]): readonly (ChatDelta | ChatMessageEvent)[] {
    for (const event of events) {
      if (this.stopped) break;
      if (event.type === "delta") this.#delta(event);
      else this.#complete(event.message);
    }
    const taken = this.#events;
    this.#events = [];
    return taken;
  }

  #delta({ type: _, text, ...header }: ParsedDelta): void {
    this.#part ??= this.#open(header);
    const tokens = this.#options.hasLogprobs ? spelling(text, this.#unread) : [];
    this.#unread = [];
    const piece = this.#part.visible.push(text, tokens);
    this.#tell(this.#part, piece.text, piece.tokens);
    if (piece.stop === null) return;
    this.stopped = true;
    this.#close(messageOf({ ...header, name: null }, this.#part.text));
  }

  #complete(message: Message): void {
    if (this.#part !== null) {
      const held = this.#part.visible.end();
      this.#tell(this.#part, held.text, held.tokens);
    }
    this.#options.onMessage(message, this.#message);
    this.#close(message);
  }

  #open(header: Part["header"]): Part {
    const isSeen =
      header.role === "assistant" && header.channel !== "analysis" && calledTool(header.recipient) === null;
    const visible = new VisibleText({
      stop: isSeen ? this.#options.stop : [],
      includeStop: false,
      hasTokens: this.#options.hasLogprobs,
    });
    return { header, text: "", visible, logprobs: [] };
  }

  #tell(part: Part, text: string, tokens: readonly SpelledToken[]): void {
    const logprobs = tokens.map(({ token }) => positionOf(token));
    part.text += text;
    part.logprobs.push(...logprobs);
    if (text === "") return;
    this.#events.push({
      type: "delta",
      ...part.header,
      text,
      ...(this.#options.hasLogprobs && { logprobs }),
    });
  }

  #close(message: Message): void {
    const logprobs = this.#part?.logprobs ?? [];
    this.messages.push(message);
    this.logprobs.push(logprobs);
    this.#events.push({ type: "message", message, ...(this.#options.hasLogprobs && { logprobs }) });
    this.#part = null;
    this.#message = [];
    this.#unread = [];
  }
}

function positionOf({ token, logprob, top = [] }: GeneratedToken): PositionLogprobs {
  return { token, logprob, top };
}
