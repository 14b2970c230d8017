import { readOptions } from "../common/unknown-option.js";
import { invalidArgument } from "../errors.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import { builtinRecipients } from "./builtin-tools.js";
import { type Header, headerWords, isRole, splitChannel } from "./header.js";
import type { Message, Role } from "./message.js";
import { messageOf } from "./parser.js";
import { channelMarker, constrainMarker, endsMessage, formatTokens } from "./tokens.js";
import { functionsNamespace } from "./tools.js";
import { textOf, Utf8Stream } from "./utf8.js";

/** A piece of the current message. The joined pieces of a message are its text. */
export interface ParsedDelta {
  /** The kind of event. */
  type: "delta";
  /** The role of the author. */
  role: Role;
  /** "analysis", "commentary" or "final"; null for none. */
  channel: string | null;
  /** The addressee; null for none. */
  recipient: string | null;
  /** The type of the content; null for none. */
  contentType: string | null;
  /** The piece. */
  text: string;
}

/** A complete message. It follows its deltas. */
export interface ParsedMessage {
  /** The kind of event. */
  type: "message";
  /** The message. */
  message: Message;
}

/** An event of `RecoveringParser`. */
export type ParsedEvent = ParsedDelta | ParsedMessage;

/** Options of `RecoveringParser`. */
export interface RecoveringParserOptions {
  /** True when the prompt ends with `<|start|>assistant`, like the prompt of a completion (the default). */
  headerOpen?: boolean;
  /** Names of the functions declared to the model, without the namespace. */
  tools?: Iterable<string>;
}

/**
 * The longest header in tokens. A real one has at most about 40. After more tokens, the parser assumes that the model
 * forgot `<|message|>`. It then streams the words as the message, because the header may never end.
 */
const maxHeaderTokens = 128;

/** The possible beginnings of a header between messages, where `<|start|>` or `<|start|>assistant` is missing. */
const headerBeginnings = ["to=", "assistant"];

type HeaderState = { phase: "header"; tokens: number[]; role: Role | null };
type ContentState = { phase: "content"; header: Header; text: string; utf8: Utf8Stream };
type State = HeaderState | ContentState | { phase: "between"; pending: number[] };

const noEvents: readonly ParsedEvent[] = Object.freeze([]);

/**
 * Parses any output of a model. It never throws and always ends. For well-formed streams it gives the same messages as
 * `StreamableParser`. Malformed ones are read by their most likely meaning:
 *
 * - between messages, a missing `<|start|>assistant` is added before a header, stray closing tokens are ignored, and
 *   plain text begins a message without a channel;
 * - `<|start|>` or `<|channel|>` inside a message ends it, because control tokens are never text; others are ignored;
 * - a header without `<|message|>` becomes text on the channel that it names; a tool call that is cut off there is
 *   dropped;
 * - markers inside a recipient are cut off;
 * - a stray word is a recipient only if it names a tool;
 * - a declared function is recognised without its namespace.
 *
 * @example
 * ```ts
 * const parser = new RecoveringParser({ tools: ["get_weather"] });
 * for await (const { token } of engine.generate(prompt)) {
 *   for (const event of parser.push(token)) console.log(event);
 * }
 * parser.end();
 * ```
 */
export class RecoveringParser {
  /** The complete messages. */
  readonly messages: Message[] = [];
  /** The number of characters that were written in headers and mean nothing there. No message has them. */
  strayCharacters = 0;

  private readonly functions: ReadonlySet<string>;
  private state: State;
  private events: ParsedEvent[] = [];

  /** @throws GptOssError INVALID_ARGUMENT on an unknown or invalid option */
  constructor(options: RecoveringParserOptions = {}) {
    const { headerOpen = true, tools = [] } = readOptions("RecoveringParser", options, optionNames);
    if (typeof headerOpen !== "boolean") throw invalidArgument("headerOpen", "a boolean", headerOpen);
    this.functions = namesOf(tools);
    this.state = headerOpen ? { phase: "header", tokens: [], role: "assistant" } : { phase: "between", pending: [] };
  }

  /**
   * Reads one token and returns the new events. An invalid token is ignored.
   *
   * @example
   * ```ts
   * for (const event of parser.push(token)) if (event.type === "delta") process.stdout.write(event.text);
   * ```
   */
  push(token: number): readonly ParsedEvent[] {
    if (!Number.isInteger(token) || token < 0) return noEvents;
    if (token >= firstSpecialToken) {
      this.pushControl(token);
    } else if (this.state.phase === "content") {
      const text = this.state.utf8.push(token);
      return text === null ? noEvents : [this.delta(this.state, text)]; // the case of nearly all tokens
    } else if (this.state.phase === "between") {
      this.pushBetween(token, this.state.pending);
    } else {
      this.pushHeader(token, this.state);
    }
    return this.takeEvents();
  }

  /**
   * Reads several tokens, like successive calls of `push`.
   *
   * @example
   * ```ts
   * const events = parser.pushAll(tokens);
   * ```
   */
  pushAll(tokens: Iterable<number>): readonly ParsedEvent[] {
    const events: ParsedEvent[] = [];
    for (const token of tokens) {
      for (const event of this.push(token)) events.push(event);
    }
    return events;
  }

  /**
   * Ends the stream. The current message is complete as it is. A second call returns nothing.
   *
   * @example
   * ```ts
   * const events = parser.end();
   * ```
   */
  end(): readonly ParsedEvent[] {
    this.close(false);
    return this.takeEvents();
  }

  private pushControl(token: number): void {
    const inContent = this.state.phase === "content";
    if (endsMessage(token)) {
      this.close(true);
    } else if (token === formatTokens.endOfText) {
      this.close(false);
    } else if (token === formatTokens.start) {
      this.close(false);
      this.state = { phase: "header", tokens: [], role: null };
    } else if (token === formatTokens.message && !inContent) {
      const { tokens, role } = this.openHeader();
      this.startContent(tokens, role);
    } else if (token === formatTokens.channel || (token === formatTokens.constrain && !inContent)) {
      this.pushHeader(token, this.openHeader());
    }
  }

  /** Returns the current header, or opens one whose `<|start|>assistant` is missing. */
  private openHeader(): HeaderState {
    if (this.state.phase === "header") return this.state;
    const tokens = this.state.phase === "between" ? this.state.pending : [];
    if (this.state.phase === "content") this.close(false);
    const header: HeaderState = { phase: "header", tokens, role: "assistant" };
    this.state = header;
    return header;
  }

  /** Handles a token between messages: white space is ignored, `to=` begins a header, other text begins a message. */
  private pushBetween(token: number, before: readonly number[]): void {
    const tokens = [...before, token];
    const text = textOf(tokens).trimStart();
    if (text.startsWith("to=")) {
      this.state = { phase: "header", tokens, role: "assistant" };
    } else if (headerBeginnings.some((beginning) => beginning.startsWith(text))) {
      this.state = { phase: "between", pending: text === "" ? [] : tokens };
    } else {
      const utf8 = new Utf8Stream({ replaceOnePerStep: false });
      const begun = decodeInto(utf8, tokens).trimStart();
      this.state = { phase: "content", header: this.readHeader("", "assistant"), text: "", utf8 };
      this.emit(begun);
    }
  }

  private pushHeader(token: number, header: HeaderState): void {
    header.tokens.push(token);
    if (header.tokens.length > maxHeaderTokens) this.startBareContent(header.tokens, header.role);
  }

  private startContent(headerTokens: readonly number[], role: Role | null): void {
    const header = this.readHeader(textOf(headerTokens), role);
    this.state = { phase: "content", header, text: "", utf8: new Utf8Stream({ replaceOnePerStep: false }) };
  }

  /** Handles a missing `<|message|>`: the header determines where its remaining words go. */
  private startBareContent(tokens: readonly number[], role: Role | null): void {
    const utf8 = new Utf8Stream({ replaceOnePerStep: false }); // keeps half a character for the token that completes it
    const { header, text } = this.readBare(decodeInto(utf8, tokens), role);
    this.state = { phase: "content", header, text: "", utf8 };
    this.emit(text);
  }

  /** Completes the current message. `closed`: by a closing token, so a call is complete. */
  private close(closed: boolean): void {
    if (this.state.phase === "between") this.state = { phase: "header", tokens: this.state.pending, role: "assistant" };
    if (this.state.phase === "header") {
      const { tokens, role } = this.state;
      const { header, text } = this.readBare(textOf(tokens), role);
      const isAddress = !closed && "to=".startsWith(text); // the rest of `to=` was cut off
      const isMessage = header.recipient === null ? text !== "" && !isAddress : closed;
      if (isMessage) this.startBareContent(tokens, role);
      else if (!isAddress) this.stray(text);
    }
    if (this.state.phase === "content") {
      this.emit(this.state.utf8.flush());
      const message = messageOf(this.state.header, this.state.text);
      this.messages.push(message);
      this.events.push({ type: "message", message });
    }
    this.state = { phase: "between", pending: [] };
  }

  private emit(text: string): void {
    if (text === "" || this.state.phase !== "content") return;
    this.events.push(this.delta(this.state, text));
  }

  private delta(content: ContentState, text: string): ParsedDelta {
    content.text += text;
    const { role, channel, recipient, contentType } = content.header;
    return { type: "delta", role, channel, recipient, contentType, text };
  }

  private takeEvents(): readonly ParsedEvent[] {
    if (this.events.length === 0) return noEvents;
    const events = this.events;
    this.events = [];
    return events;
  }

  private stray(text: string): void {
    this.strayCharacters += text.replace(/<\|[a-z]+\|>/g, "").trim().length;
  }

  /** Parses a header before `<|message|>` like the reference, but accepts every text. */
  private readHeader(text: string, preset: Role | null): Header {
    const { channel, rest } = splitChannel(text.replace(spaceAfterConstrain, constrainMarker));
    const words = headerWords(rest);
    const author = this.takeAuthor(words, preset);

    let recipient: string | null = null;
    let contentType: string | null = null;
    const plain: string[] = [];
    for (const word of words) {
      if (word.startsWith("to=")) recipient ??= cutMarkers(word.slice(3));
      else if (word.startsWith(constrainMarker)) contentType ??= constrained(word.slice(constrainMarker.length));
      else if (cutMarkers(word) !== null) plain.push(cutMarkers(word)!);
    }
    if (recipient === null && this.isRecipient(plain, contentType)) recipient = plain.shift()!;
    if (plain.length === 1 && contentType === null) contentType = plain.pop()!;
    for (const word of plain) this.stray(word);
    return { ...author, channel: cutMarkers(channel ?? ""), recipient: this.qualified(recipient), contentType };
  }

  /**
   * Parses a header without `<|message|>`: author, channel and recipient as far as they come first. The rest is text.
   */
  private readBare(written: string, preset: Role | null): { header: Header; text: string } {
    const { channel, rest } = splitChannel(written);
    let text = rest.trimStart();
    const first = /^[a-z]+(?=\s|<|$)/.exec(text)?.[0];
    const role = preset ?? (isRole(first) ? first : "assistant");
    if (first === role) text = text.slice(role.length).trimStart();

    let recipient: string | null = null;
    let contentType: string | null = null;
    const addressed = /^to=(\S*)\s*/.exec(text);
    if (addressed !== null) {
      recipient = cutMarkers(addressed[1]!);
      text = text.slice("to=".length + (recipient ?? "").length).trimStart();
      const typed = /^(<\|constrain\|>)?\s*(json|code)?\s*/.exec(text)!;
      if (typed[2] !== undefined) contentType = typed[1] === undefined ? typed[2] : constrained(typed[2]);
      text = text.slice(typed[0].length);
    }
    text = text.replaceAll(channelMarker, "").replaceAll(constrainMarker, "");
    const header = {
      role,
      name: null,
      channel: cutMarkers(channel ?? ""),
      recipient: this.qualified(recipient),
      contentType,
    };
    return { header, text };
  }

  /**
   * Takes the author: a role, or a tool if the first word names one or a recipient follows. Other words are ignored.
   */
  private takeAuthor(words: string[], preset: Role | null): { role: Role; name: string | null } {
    const [first, second] = words;
    const role = preset ?? (isRole(first) ? first : "assistant");
    if (first === role) {
      words.shift();
      return { role, name: role === "tool" && preset === null ? role : null };
    }
    if (preset !== null || first === undefined || first.startsWith("to=")) return { role, name: null };
    words.shift();
    if (this.namesTool(first) || second?.startsWith("to=")) return { role: "tool", name: first };
    this.stray(first);
    return { role, name: null };
  }

  /** Whether the first word without `to=` is a recipient: it names a tool, or a content type follows it. */
  private isRecipient(plain: readonly string[], contentType: string | null): boolean {
    const [first, second] = plain;
    if (first === undefined) return false;
    if (this.namesTool(first)) return true;
    return contentType !== null ? plain.length === 1 : plain.length === 2 && (second === "json" || second === "code");
  }

  private namesTool(word: string): boolean {
    return word.startsWith(`${functionsNamespace}.`) || builtinRecipients.includes(word) || this.functions.has(word);
  }

  private qualified(recipient: string | null): string | null {
    return recipient !== null && this.functions.has(recipient) ? `${functionsNamespace}.${recipient}` : recipient;
  }
}

const optionNames: ReadonlySet<string> = new Set(["headerOpen", "tools"]);

function namesOf(tools: unknown): ReadonlySet<string> {
  if (typeof tools !== "object" || tools === null || !(Symbol.iterator in tools)) {
    throw invalidArgument("tools", "names of functions", tools);
  }
  const names = [...(tools as Iterable<unknown>)];
  for (const name of names) {
    if (typeof name !== "string") throw invalidArgument("a name of tools", "a string", name, "tools");
  }
  return new Set(names as string[]);
}

/** Decodes tokens one by one, as in streaming. Half a character stays in `utf8`. */
function decodeInto(utf8: Utf8Stream, tokens: readonly number[]): string {
  return tokens.map((token) => utf8.push(token) ?? "").join("");
}

/** Returns the tool that a recipient names, functions without their namespace. Null when it names no tool. */
export function calledTool(recipient: string | null | undefined): string | null {
  if (!recipient || recipient === "all" || isRole(recipient)) return null;
  const prefix = `${functionsNamespace}.`;
  return recipient.startsWith(prefix) ? recipient.slice(prefix.length) : recipient;
}

/** A content type is one word, but a model may write a space after its marker. */
const spaceAfterConstrain = /<\|constrain\|>[ \t\n\f\r]+(?!to=)/g;

function constrained(type: string): string {
  return `${constrainMarker}${cutMarkers(type) ?? ""}`;
}

/** Returns a word up to its first control token. Null when nothing is left. */
function cutMarkers(word: string): string | null {
  const marker = word.indexOf("<|");
  const cut = marker < 0 ? word : word.slice(0, marker);
  return cut === "" ? null : cut;
}
