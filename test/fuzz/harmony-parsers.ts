import { GptOssError } from "../../lib/errors.js";
import {
  type Message,
  type ParsedEvent,
  parseMessagesFromCompletionTokens,
  RecoveringParser,
  type Role,
  StreamableParser,
} from "../../lib/harmony/index.js";
import { messageText } from "../../lib/harmony/message.js";

/** Rules that the parsers obey on any stream. `checkStream` throws a `Violation` when one is broken. */

export class Violation extends Error {
  override readonly name = "Violation";
}

export interface StreamCounts {
  /** Messages that the recovering parser found. */
  messages: number;
  /** Runs by the reference's rules, and the runs that ended with its typed error. */
  readings: number;
  refusals: number;
}

const chunkLengths = [1, 2, 7, 64, Number.POSITIVE_INFINITY];
const presets: (Role | null)[] = ["assistant", null];

export function checkStream(tokens: readonly number[]): StreamCounts {
  const messages = checkRecovering(tokens, true);
  checkRecovering(tokens, false);
  let refusals = 0;
  for (const role of presets) {
    for (const strict of [true, false]) if (!checkStreamable(tokens, role, strict)) refusals++;
  }
  return { messages, readings: 2 * presets.length, refusals };
}

// --- the recovering parser ---

function checkRecovering(tokens: readonly number[], headerOpen: boolean): number {
  const options = { headerOpen, tools: ["f"] };
  const parser = new RecoveringParser(options);
  const events: ParsedEvent[] = [];
  for (const token of tokens) {
    for (const event of parser.push(token)) events.push(event);
    checkState(parser);
  }
  events.push(...parser.end());
  require(parser.end().length === 0, "a second end() returns something");
  checkEvents(events, parser.messages);

  const length = chunkLengths[tokens.length % chunkLengths.length]!;
  const chunked = new RecoveringParser(options);
  let next = 0;
  for (let at = 0; at < tokens.length; at += length) {
    for (const event of chunked.pushAll(tokens.slice(at, at + length))) {
      require(sameEvent(event, events[next++]), `event ${next - 1} differs in chunks of ${length}`);
    }
  }
  for (const event of chunked.end()) require(sameEvent(event, events[next++]), `event ${next - 1} differs at the end`);
  require(next === events.length, `${events.length} events one by one, ${next} in chunks of ${length}`);
  return parser.messages.length;
}

/** The state that the recovering parser keeps between tokens. */
interface Internals {
  state:
    | { phase: "header"; tokens: number[] }
    | { phase: "between"; pending: number[] }
    | { phase: "content"; utf8: { from: number; to: number } };
  events: ParsedEvent[];
}

/** Checks that only the text of the current message grows with the stream. */
function checkState(parser: RecoveringParser): void {
  const { state, events } = parser as unknown as Internals;
  const held = state.phase === "header" ? state.tokens.length : state.phase === "between" ? state.pending.length : 0;
  require(held <= 128, "a header or what stands between messages grows");
  if (state.phase === "content") {
    const { from, to } = state.utf8;
    require(to - from <= 3, "more than half a character waits");
  }
  require(events.length === 0, "events are kept back");
}

/** Checks the deltas before each message: they form its text, have its header, are not empty. None follow the last. */
function checkEvents(events: readonly ParsedEvent[], messages: readonly Message[]): void {
  let text = "";
  let deltas: Extract<ParsedEvent, { type: "delta" }>[] = [];
  let complete = 0;
  for (const event of events) {
    if (event.type === "delta") {
      require(event.text !== "", "an empty delta");
      deltas.push(event);
      text += event.text;
      continue;
    }
    const { message } = event;
    require(message === messages[complete++], "messages are not the messages of the events");
    require(messageText(message) === text, "the deltas of a message are not its text");
    for (const { role, channel, recipient, contentType } of deltas) {
      const isSame =
        role === message.role &&
        channel === (message.channel ?? null) &&
        recipient === (message.recipient ?? null) &&
        contentType === (message.content_type ?? null);
      require(isSame, "a delta has another header than its message");
    }
    text = "";
    deltas = [];
  }
  require(deltas.length === 0, "deltas without a message");
  require(complete === messages.length, "messages without an event");
}

function sameEvent(a: ParsedEvent, b: ParsedEvent | undefined): boolean {
  if (a.type === "delta") {
    return b?.type === "delta" && a.text === b.text && a.channel === b.channel && a.recipient === b.recipient;
  }
  return b?.type === "message" && sameMessage(a.message, b.message);
}

// --- the reference's parser ---

/** Returns whether the stream was read to its end. */
function checkStreamable(tokens: readonly number[], role: Role | null, strict: boolean): boolean {
  const parser = new StreamableParser({ role, strict });
  let content = "";
  let complete = 0;
  const refusal = refused(() => {
    for (const token of tokens) {
      const wasContent = parser.state === "Content";
      parser.process(token);
      const delta = parser.lastContentDelta;
      if (parser.messages.length > complete) {
        const message = parser.messages[complete++]!;
        require(parser.messages.length === complete, "two messages from one token");
        if (wasContent) checkText(message, content);
        content = "";
      }
      if (parser.state !== "Content") continue;
      content += delta ?? "";
      require(parser.currentContent === content, "the deltas are not the content");
    }
    parser.processEos();
    if (parser.messages.length > complete) checkText(parser.messages[complete]!, content);
    require(parser.state === "ExpectStart", "a message is open after the end");
  });
  require(parser.tokens.length === tokens.length || refusal !== null, "tokens are missing");

  let messages: Message[] = [];
  const whole = refused(() => {
    messages = parseMessagesFromCompletionTokens(tokens, { role, strict });
  });
  require(whole === refusal, `"${refusal}" one by one, "${whole}" as a whole`);
  if (refusal === null) {
    require(messages.length === parser.messages.length, "other messages as a whole");
    for (const [i, message] of messages.entries()) {
      require(sameMessage(message, parser.messages[i]!), `message ${i} differs as a whole`);
    }
  }
  return refusal === null;
}

/** Checks that a message is its deltas plus the text that could be decoded only at its end. */
function checkText(message: Message, content: string): void {
  const text = messageText(message);
  require(text.startsWith(content), "the deltas of a message do not begin its text");
  require(Buffer.from(text).toString() === text, "half a surrogate pair");
}

/** Returns the message of the typed error, or null without one; rethrows other errors. */
function refused(read: () => void): string | null {
  try {
    read();
    return null;
  } catch (error) {
    if (error instanceof GptOssError && error.code === "INVALID_ARGUMENT") return error.message;
    throw error;
  }
}

function sameMessage(a: Message, b: Message): boolean {
  return (
    a.role === b.role &&
    a.name === b.name &&
    a.channel === b.channel &&
    a.recipient === b.recipient &&
    a.content_type === b.content_type &&
    messageText(a) === messageText(b)
  );
}

function require(holds: boolean, what: string): void {
  if (!holds) throw new Violation(what);
}
