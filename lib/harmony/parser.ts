import { readOptions } from "../common/unknown-option.js";
import { invalidArgument } from "../errors.js";
import { lastSpecialToken } from "../tokenizer/special-tokens.js";
import { type Header, headerWords, malformed, parseHeader, splitChannel } from "./header.js";
import { type Message, type Role, readRole } from "./message.js";
import { endsMessage, formatTokens } from "./tokens.js";
import { strictTextOf, Utf8Stream } from "./utf8.js";

/** Options of the strict parser. */
export interface ParserOptions {
  /** The role of the first message when the prompt already contains it: `"assistant"` for a completion. */
  role?: Role | null;
  /** `false` accepts a first message without `<|message|>`. Every other malformation still throws. */
  strict?: boolean;
}

/** The kind of the next token: the start of a message, a part of its header, or a part of its content. */
export type ParserState = "ExpectStart" | "Header" | "Content";

/**
 * Parses token ids into messages. It is a state machine over ids, so text that looks like `<|end|>` stays text. It
 * follows the reference implementation step by step. For the output of a model, prefer `RecoveringParser`, which never
 * throws.
 *
 * @example
 * ```ts
 * const parser = new StreamableParser({ role: "assistant" });
 * for await (const { token } of engine.generate(prompt)) {
 *   parser.process(token);
 *   if (parser.currentChannel === "final") process.stdout.write(parser.lastContentDelta ?? "");
 * }
 * parser.processEos();
 * console.log(parser.messages);
 * ```
 */
export class StreamableParser {
  /** The complete messages. They stay readable after an error. */
  readonly messages: Message[] = [];
  /** All tokens so far, including a refused one. */
  readonly tokens: number[] = [];

  private readonly strict: boolean;
  private presetRole: Role | null;
  private phase: ParserState;
  private headerTokens: number[] = [];
  private header: Header | null = null;
  private content = "";
  private readonly utf8 = new Utf8Stream({ replaceOnePerStep: true });
  /** After an id without bytes the rest of the message cannot be decoded. It becomes one U+FFFD. */
  private undecodable = false;
  private delta: string | null = null;

  /** @throws GptOssError INVALID_ARGUMENT on an unknown option or role */
  constructor(options: ParserOptions = {}) {
    const { role, strict } = checkOptions(options);
    this.presetRole = role;
    this.strict = strict;
    this.phase = role === null ? "ExpectStart" : "Header";
  }

  /** The kind of the next token. */
  get state(): ParserState {
    return this.phase;
  }

  /** The role of the current message; null outside of a message. */
  get currentRole(): Role | null {
    return this.header?.role ?? this.presetRole;
  }

  /** The channel of the current message; null for none. */
  get currentChannel(): string | null {
    return this.header?.channel ?? null;
  }

  /** The recipient of the current message; null for none. */
  get currentRecipient(): string | null {
    return this.header?.recipient ?? null;
  }

  /** The content type of the current message; null for none. */
  get currentContentType(): string | null {
    return this.header?.contentType ?? null;
  }

  /** The decoded text of the current message, without the bytes of an incomplete character. */
  get currentContent(): string {
    return this.content;
  }

  /** The text that the last token added. Null in headers, on closing tokens and while a character is incomplete. */
  get lastContentDelta(): string | null {
    return this.delta;
  }

  /**
   * Reads one token.
   *
   * @throws GptOssError INVALID_ARGUMENT when the token is not allowed at this place
   *
   * @example
   * ```ts
   * for (const token of tokens) parser.process(token);
   * ```
   */
  process(token: number): void {
    if (!Number.isInteger(token) || token < 0 || token > 0xffffffff) {
      throw invalidArgument("token", "an integer in [0, 4294967295]", token);
    }
    this.tokens.push(token);
    switch (this.phase) {
      case "ExpectStart":
        if (token !== formatTokens.start) {
          throw malformed(`Unexpected token ${token} while expecting start token ${formatTokens.start}`);
        }
        this.phase = "Header";
        this.headerTokens = [];
        break;
      case "Header":
        if (token === formatTokens.message) this.openContent();
        else if (!this.strict && endsMessage(token)) this.acceptBareMessage();
        else this.headerTokens.push(token);
        break;
      case "Content":
        if (endsMessage(token)) this.closeMessage();
        else this.addContent(token);
        break;
    }
  }

  /**
   * Ends the stream: closes the current message.
   * @throws GptOssError INVALID_ARGUMENT inside a header
   *
   * @example
   * ```ts
   * parser.processEos();
   * ```
   */
  processEos(): void {
    if (this.phase === "Header") throw malformed("Unexpected EOS while waiting for message header to complete");
    if (this.phase === "Content") this.closeMessage();
  }

  private openContent(): void {
    this.phase = "ExpectStart"; // the state that an error leaves
    this.header = parseHeader(this.headerText(), this.presetRole);
    this.presetRole = null;
    this.phase = "Content";
    this.content = "";
    this.undecodable = false;
  }

  /** Handles a missing `<|message|>`: a first message is the text after the channel; a later one is ignored. */
  private acceptBareMessage(): void {
    if (this.presetRole !== null && this.headerTokens.length > 0) {
      const { channel, rest } = splitChannel(this.headerText());
      if (channel === "") throw malformed("channel marker present but no channel value found in header");
      const words = headerWords(rest);
      if (words[0] === this.presetRole) words.shift();
      const header = { role: this.presetRole, name: null, channel, recipient: null, contentType: null };
      this.messages.push(messageOf(header, words.join(" ")));
    }
    this.presetRole = null;
    this.phase = "ExpectStart";
  }

  private addContent(token: number): void {
    this.undecodable ||= token > lastSpecialToken;
    this.delta = this.undecodable ? null : this.utf8.push(token);
    if (this.delta !== null) this.content += this.delta;
  }

  private closeMessage(): void {
    const tail = (this.undecodable ? "\uFFFD" : "") + this.utf8.flush();
    this.messages.push(messageOf(this.header!, this.content + tail));
    this.phase = "ExpectStart";
    this.header = null;
    this.content = "";
    this.delta = null;
  }

  private headerText(): string {
    const known = this.headerTokens.every((token) => token <= lastSpecialToken);
    const text = known ? strictTextOf(this.headerTokens) : null;
    if (text === null) throw malformed("could not decode header");
    return text;
  }
}

/** Builds a message in canonical shape. Fields that the header does not have are absent. */
export function messageOf(header: Header, text: string): Message {
  return {
    role: header.role,
    ...(header.name !== null && { name: header.name }),
    ...(header.recipient !== null && { recipient: header.recipient }),
    content: [{ type: "text", text }],
    ...(header.channel !== null && { channel: header.channel }),
    ...(header.contentType !== null && { content_type: header.contentType }),
  };
}

/**
 * Parses the messages of a whole stream: of a completion with `role: "assistant"`, else of a stream from `<|start|>`
 * on.
 * @throws GptOssError INVALID_ARGUMENT on malformed tokens
 *
 * @example
 * ```ts
 * const messages = parseMessagesFromCompletionTokens(tokens, { role: "assistant" });
 * ```
 */
export function parseMessagesFromCompletionTokens(tokens: Iterable<number>, options: ParserOptions = {}): Message[] {
  const parser = new StreamableParser(options);
  for (const token of tokens) parser.process(token);
  parser.processEos();
  return parser.messages;
}

const parserOptionNames = new Set(["role", "strict"]);

function checkOptions(options: ParserOptions): { role: Role | null; strict: boolean } {
  const { role = null, strict = true } = readOptions("the harmony parser", options, parserOptionNames);
  if (typeof strict !== "boolean") throw invalidArgument("strict", "a boolean", strict);
  return { role: role === null ? null : readRole(role, "role"), strict };
}
