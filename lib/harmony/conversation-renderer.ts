import { hash } from "node:crypto";
import { checkSignal, throwIfAborted } from "../common/abort.js";
import { BoundedCache, SharedBound } from "../common/bounded-cache.js";
import { Breather } from "../common/breather.js";
import { readOptions } from "../common/unknown-option.js";
import { contextOverflow, invalidArgument } from "../errors.js";
import { encodeLong, encodeWithin, offThreadUnits } from "../tokenizer/encode-within.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import { type Conversation, type Message, type Role, readRole } from "./message.js";
import { parseMessagesFromCompletionTokens } from "./parser.js";
import {
  closingToken,
  joined,
  openingOf,
  partsOf,
  type RenderOptions,
  type WrittenMessage,
  writeMessages,
  writtenMessages,
} from "./render.js";
import { endsMessage, formatTokens } from "./tokens.js";

/** Options of a `ConversationRenderer`: the limits of its caches. */
export interface ConversationRendererOptions {
  /** The maximum size of the caches in bytes. A message takes four for each token and some 700. Default 32 MiB. */
  maxBytes?: number;
  /**
   * Instead of `maxBytes`: another renderer, with which this one shares the limit. Renderers with a shared limit stay
   * below it together, but cannot read each other's caches. Above the limit, the one with the largest cache evicts
   * first.
   */
  sharedWith?: ConversationRenderer;
}

/** Options for the prompt of a completion. */
export interface CompletionOptions extends RenderOptions {
  /** Requests of one salt share encoded and generated tokens. Requests of different salts share nothing. Default "". */
  cacheSalt?: string | undefined;
  /**
   * Whether an assistant message that was remembered in this conversation is rendered with its generated tokens
   * (default). `false` encodes every message from its text.
   */
  originalTokens?: boolean | undefined;
  /**
   * The limit for the prompt and at least one token of the completion. A longer prompt is refused with
   * CONTEXT_OVERFLOW: before encoding where its length shows it, else as soon as it is certain. Default: no limit.
   */
  contextLength?: number | undefined;
}

/** The prompt of a completion. */
export interface CompletionPrompt {
  /** Its token ids. */
  tokens: Uint32Array;
  /** Identifies the salt and all user and tool messages so far. An answer to this prompt is remembered under it. */
  scope: string;
}

const completionNames: ReadonlySet<string> = new Set([
  "autoDropAnalysis",
  "toolCallOrder",
  "cacheSalt",
  "originalTokens",
  "contextLength",
] satisfies (keyof CompletionOptions)[]);

/**
 * Renders growing conversations. A message is encoded only once, and a generated message is rendered with its original
 * tokens. Otherwise, the ids are the same as those of `renderConversationForCompletion`.
 *
 * The keys of both caches are SHA-256 digests of the text to write. So a changed object is another message, and no text
 * is kept.
 *
 * @example
 * ```ts
 * const renderer = new ConversationRenderer();
 * const { tokens, scope } = renderer.renderForCompletion([systemMessage(), userMessage("Hi")]);
 * ```
 */
export class ConversationRenderer {
  private readonly bounds: { readonly encoded: SharedBound; readonly generated: SharedBound };
  private readonly encoded: BoundedCache<Uint32Array>;
  private readonly generated: BoundedCache<Uint32Array>;

  /** @throws GptOssError INVALID_ARGUMENT on an unknown or invalid option */
  constructor(options: ConversationRendererOptions = {}) {
    const given = readOptions("ConversationRenderer", options, new Set(["maxBytes", "sharedWith"]));
    const { maxBytes = 32 * 2 ** 20, sharedWith } = given;
    if (!Number.isSafeInteger(maxBytes) || maxBytes < 0)
      throw invalidArgument("maxBytes", "a number of bytes", maxBytes);
    if (sharedWith !== undefined && (given.maxBytes !== undefined || !(sharedWith instanceof ConversationRenderer))) {
      throw invalidArgument("sharedWith", "a ConversationRenderer, and no maxBytes", sharedWith);
    }
    const bound = () => new SharedBound({ size: maxBytes / 2 });
    this.bounds = sharedWith?.bounds ?? { encoded: bound(), generated: bound() };
    this.encoded = new BoundedCache(this.bounds.encoded);
    this.generated = new BoundedCache(this.bounds.generated);
  }

  /**
   * Clears the caches. They store nothing from now on.
   *
   * @example
   * ```ts
   * renderer.close();
   * ```
   */
  close(): void {
    this.encoded.close();
    this.generated.close();
  }

  /**
   * Renders all messages, then `<|start|>` and the next role.
   * @throws GptOssError INVALID_ARGUMENT on a malformed conversation, role or option; CONTEXT_OVERFLOW
   *
   * @example
   * ```ts
   * const { tokens } = renderer.renderForCompletion([systemMessage(), userMessage("Hi")]);
   * ```
   */
  renderForCompletion(
    conversation: Conversation,
    nextRole: Role = "assistant",
    options: CompletionOptions = {},
  ): CompletionPrompt {
    const rendering = this.render(conversation, nextRole, options);
    let step = rendering.next();
    while (!step.done) {
      const { text, most } = step.value;
      step = rendering.next(text === "" ? null : encodeWithin(text, most));
    }
    return step.value;
  }

  /**
   * Does the same without blocking the event loop: long texts are encoded on another thread. A conversation with little
   * new text is rendered before this returns, so that it stays ahead of later requests.
   *
   * @throws the reason of an abort of `signal`, immediately
   *
   * @example
   * ```ts
   * const { tokens } = await renderer.renderForCompletionAsync(conversation, "assistant", { signal });
   * ```
   */
  async renderForCompletionAsync(
    conversation: Conversation,
    nextRole: Role = "assistant",
    { signal, ...options }: CompletionOptions & { signal?: AbortSignal | undefined } = {},
  ): Promise<CompletionPrompt> {
    checkSignal(signal);
    throwIfAborted(signal);
    const breather = new Breather();
    const rendering = this.render(conversation, nextRole, options);
    let step = rendering.next();
    while (!step.done) {
      const { text, most } = step.value;
      const rest = breather.rest();
      if (rest !== undefined) {
        await rest;
        throwIfAborted(signal);
      }
      if (text.length < offThreadUnits) {
        step = rendering.next(text === "" ? null : encodeWithin(text, most));
      } else {
        step = rendering.next(await encodeLong(text, most, { signal }));
      }
    }
    return step.value;
  }

  /**
   * Stores the tokens of a message that a model generated, for its later use as history.
   *
   * @param tokens from its header on, with or without `<|start|>assistant` and its closing token
   * @returns false when the tokens do not parse as exactly this message of the assistant; they are then not stored
   *
   * @example
   * ```ts
   * renderer.remember(scope, message, tokensOfTheMessage); // the scope of its prompt
   * ```
   */
  remember(scope: string, message: Message, tokens: readonly number[]): boolean {
    const [given] = writtenMessages([message], { autoDropAnalysis: false });
    if (given?.role !== "assistant") return false;
    const closed = endsMessage(tokens.at(-1) ?? -1);
    const ids = joined([
      tokens[0] === formatTokens.start ? [] : openingOf("assistant"),
      closed ? tokens.slice(0, -1) : tokens,
      [closingToken(given)], // `<|return|>` ends sampling; it does not end a message of a history
    ]);
    const key = digestOf(given);
    if (!readsAs(ids, key)) return false;
    keep(this.generated, scope + key, ids);
    return true;
  }

  /** Serves both variants: yields each new text and receives its tokens. */
  private *render(conversation: Conversation, nextRole: Role, options: CompletionOptions): Rendering<CompletionPrompt> {
    const opening = openingOf(readRole(nextRole, "nextRole"));
    const {
      cacheSalt = "",
      originalTokens = true,
      contextLength = Number.POSITIVE_INFINITY,
      ...renderOptions
    } = readOptions("rendering", options, completionNames);
    if (typeof cacheSalt !== "string") throw invalidArgument("cacheSalt", "a string", cacheSalt);
    if (typeof originalTokens !== "boolean") throw invalidArgument("originalTokens", "a boolean", originalTokens);
    if (typeof contextLength !== "number" || !(contextLength >= 1)) {
      throw invalidArgument("contextLength", "a number of tokens", contextLength);
    }

    let scope = digest(cacheSalt);
    let room = contextLength - 1 - opening.length;
    const runs: Uint32Array[] = [];
    const writing = writeMessages(conversation, renderOptions, contextLength);
    let written = writing.next();
    for (; !written.done; written = writing.next()) yield pause;
    for (const message of written.value) {
      yield pause;
      const key = digestOf(message);
      const original = originalTokens ? this.generated.get(scope + key) : undefined;
      if (message.role === "user" || message.role === "tool") scope = digest(scope + key);
      const run = original ?? (yield* this.encode(message, key, cacheSalt, room));
      if (run === null || run.length > room) throw contextOverflow(contextLength, null, "messages");
      room -= run.length;
      runs.push(run);
    }
    return { tokens: joined([...runs, opening]), scope };
  }

  /** Null: there are more than `most` tokens. */
  private *encode(message: WrittenMessage, key: string, salt: string, most: number): Rendering<Uint32Array | null> {
    const whole = `${key}${message.channelFirst ? "c" : "r"}${salt}`;
    const known = this.encoded.get(whole);
    if (known !== undefined) return known;
    const runs: ArrayLike<number>[] = [];
    for (const part of partsOf(message)) {
      const run = typeof part === "number" ? [part] : yield { text: part, most };
      if (run === null) return null;
      runs.push(run);
    }
    const tokens = joined(runs);
    keep(this.encoded, whole, tokens);
    return tokens;
  }
}

/** The approximate size of a typed array with its buffer, two forms of the key and a cache entry. Measured: 730. */
const entryBytes = 600;

function keep(cache: BoundedCache<Uint32Array>, key: string, tokens: Uint32Array): void {
  cache.set(key, tokens, tokens.byteLength + key.length + entryBytes);
}

/** Receives the tokens of each yielded text, or null where there are more than `most`. */
type Rendering<T> = Generator<{ text: string; most: number }, T, Uint32Array | null>;

/** Nothing to encode: an asynchronous caller may give other work a turn here. */
const pause = { text: "", most: 0 };

/** Whether the reference parses these tokens as exactly this message, without a misplaced control token. */
function readsAs(ids: Uint32Array, key: string): boolean {
  const content = ids.indexOf(formatTokens.message) + 1;
  if (content === 0 || ids.subarray(content, -1).some((id) => id >= firstSpecialToken)) return false;
  const marks = ids.subarray(1, content - 1).filter((id) => id >= firstSpecialToken);
  if (
    marks.some((id, i) => (id !== formatTokens.channel && id !== formatTokens.constrain) || marks.indexOf(id) !== i)
  ) {
    return false;
  }
  let messages: Message[];
  try {
    messages = parseMessagesFromCompletionTokens(ids);
  } catch {
    return false; // only the recovering parser accepts such a header
  }
  const [read, ...more] = writtenMessages(messages, { autoDropAnalysis: false });
  return read !== undefined && more.length === 0 && digestOf(read) === key;
}

/** Returns the digest of a message's whole content and header, without the order within the header. */
function digestOf({ role, name, recipient, channel, contentType, texts }: WrittenMessage): string {
  const header = JSON.stringify([role, name, recipient, channel, contentType, texts.map((text) => text.length)]);
  return digest(header + texts.join(""));
}

/** Always returns 44 characters. Lone surrogates count as U+FFFD, because they are encoded as it. */
function digest(text: string): string {
  return hash("sha256", text, "base64");
}
