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

/** A piece of the message under way; the pieces of one message, joined, are its text. */
export interface ParsedDelta {
  /** Which event it is. */
  type: "delta";
  /** Who speaks. */
  role: Role;
  /** "analysis", "commentary" or "final"; null for none. */
  channel: string | null;
  /** To whom it is addressed; null for nobody. */
  recipient: string | null;
  /** Type of the content; null for none. */
  contentType: string | null;
  /** The piece. */
  text: string;
}

/** A message that is complete; it follows its deltas. */
export interface ParsedMessage {
  /** Which event it is. */
  type: "message";
  /** The message. */
  message: Message;
}

/** What `RecoveringParser` reads. */
export type ParsedEvent = ParsedDelta | ParsedMessage;

/** Options of `RecoveringParser`. */
export interface RecoveringParserOptions {
  /** True when the prompt ends with `<|start|>assistant`, as that of a completion does (the default). */
  headerOpen?: boolean;
  /** Names of the functions declared to the model, without the namespace. */
  tools?: Iterable<string>;
}

/**
 * Longest header in tokens. A real one has at most about 40; past this the model has forgotten `<|message|>` and what
 * it writes is the message, so it streams on instead of waiting for an end that may not come.
 */
const maxHeaderTokens = 128;

/** What text between messages may yet become: a header whose `<|start|>`, or `<|start|>assistant`, was forgotten. */
const headerBeginnings = ["to=", "assistant"];

type HeaderState = { phase: "header"; tokens: number[]; role: Role | null };
type ContentState = { phase: "content"; header: Header; text: string; utf8: Utf8Stream };
type State = HeaderState | ContentState | { phase: "between"; pending: number[] };

const noEvents: readonly ParsedEvent[] = Object.freeze([]);

/**
 * Reads what a model writes, whatever it writes: never throws, always ends, and gives well-formed streams the same
 * messages as `StreamableParser`. Malformed ones are read as they were most likely meant:
 *
 * - between messages a forgotten `<|start|>assistant` is supplied before a header, stray closing tokens are passed
 *   over, and plain text begins a message without a channel;
 * - `<|start|>` or `<|channel|>` inside a message ends it, for control tokens are never text; others are passed over;
 * - a header that never gets its `<|message|>` gives its words to the channel that it names; a tool call cut off there
 *   is dropped;
 * - markers inside a recipient are cut off, a stray word that names no tool is not a recipient, and a declared
 *   function is recognised without its namespace.
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
  /** Messages that are complete. */
  readonly messages: Message[] = [];

  private readonly functions: ReadonlySet<string>;
  private state: State;
  private events: ParsedEvent[] = [];

  /** @throws GptOssError INVALID_ARGUMENT on an unknown option, or one that cannot be meant */
  constructor(options: RecoveringParserOptions = {}) {
    const { headerOpen = true, tools = [] } = readOptions("RecoveringParser", options, optionNames);
    if (typeof headerOpen !== "boolean") throw invalidArgument("headerOpen", "a boolean", headerOpen);
    this.functions = namesOf(tools);
    this.state = headerOpen ? { phase: "header", tokens: [], role: "assistant" } : { phase: "between", pending: [] };
  }

  /**
   * Reads one token; returns what it completed. What is no token is passed over.
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
      return text === null ? noEvents : [this.delta(this.state, text)]; // what nearly all tokens come to
    } else if (this.state.phase === "between") {
      this.pushBetween(token, this.state.pending);
    } else {
      this.pushHeader(token, this.state);
    }
    return this.takeEvents();
  }

  /**
   * Reads several tokens, as `push` does one after the other.
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
   * The stream is over. A message under way is complete as it is; a second call returns nothing.
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

  /** The header under way, or one whose `<|start|>assistant` is taken as said. */
  private openHeader(): HeaderState {
    if (this.state.phase === "header") return this.state;
    const tokens = this.state.phase === "between" ? this.state.pending : [];
    if (this.state.phase === "content") this.close(false);
    const header: HeaderState = { phase: "header", tokens, role: "assistant" };
    this.state = header;
    return header;
  }

  /** White space between messages is nothing, `to=` begins a header, all else a message without a channel. */
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

  /** `<|message|>` is missing: the header says where its own words go. */
  private startBareContent(tokens: readonly number[], role: Role | null): void {
    const utf8 = new Utf8Stream({ replaceOnePerStep: false }); // keeps a half character for the token that completes it
    const { header, text } = this.readBare(decodeInto(utf8, tokens), role);
    this.state = { phase: "content", header, text: "", utf8 };
    this.emit(text);
  }

  /** Completes whatever is under way; `closed` when by a closing token, so that a call is meant as it stands. */
  private close(closed: boolean): void {
    if (this.state.phase === "between") this.state = { phase: "header", tokens: this.state.pending, role: "assistant" };
    if (this.state.phase === "header") {
      const { tokens, role } = this.state;
      const { header, text } = this.readBare(textOf(tokens), role);
      const isAddress = !closed && "to=".startsWith(text); // of which the rest was cut off
      const isMessage = header.recipient === null ? text !== "" && !isAddress : closed;
      if (isMessage) this.startBareContent(tokens, role);
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

  /** A header before `<|message|>`, as the reference reads it, but every text has a reading. */
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
    if (plain.length === 1) contentType ??= plain[0]!;
    return { ...author, channel: cutMarkers(channel ?? ""), recipient: this.qualified(recipient), contentType };
  }

  /** A header that lacks `<|message|>`: author, channel and recipient as far as they stand first, the rest is text. */
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

  /** The author: a role, or a tool if the first word names one or is addressed to someone; else it is passed over. */
  private takeAuthor(words: string[], preset: Role | null): { role: Role; name: string | null } {
    const [first, second] = words;
    const role = preset ?? (isRole(first) ? first : "assistant");
    if (first === role) {
      words.shift();
      return { role, name: role === "tool" && preset === null ? role : null };
    }
    if (preset !== null || first === undefined || first.startsWith("to=")) return { role, name: null };
    words.shift();
    return this.namesTool(first) || second?.startsWith("to=") ? { role: "tool", name: first } : { role, name: null };
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

/** Text of tokens one by one, as they would have streamed; half a character stays in `utf8`. */
function decodeInto(utf8: Utf8Stream, tokens: readonly number[]): string {
  return tokens.map((token) => utf8.push(token) ?? "").join("");
}

/** The name of the tool that a recipient addresses, functions without their namespace; null when it is none. */
export function calledTool(recipient: string | null | undefined): string | null {
  if (!recipient || recipient === "all" || isRole(recipient)) return null;
  const prefix = `${functionsNamespace}.`;
  return recipient.startsWith(prefix) ? recipient.slice(prefix.length) : recipient;
}

/** A content type is one word, but a model may put a space after its marker. */
const spaceAfterConstrain = /<\|constrain\|>[ \t\n\f\r]+(?!to=)/g;

function constrained(type: string): string {
  return `${constrainMarker}${cutMarkers(type) ?? ""}`;
}

/** A word up to the first control token in it; null when nothing is left. */
function cutMarkers(word: string): string | null {
  const marker = word.indexOf("<|");
  const cut = marker < 0 ? word : word.slice(0, marker);
  return cut === "" ? null : cut;
}
