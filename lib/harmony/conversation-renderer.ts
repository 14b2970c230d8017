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

/** What a `ConversationRenderer` can keep. */
export interface ConversationRendererOptions {
  /** What may be kept, in bytes; a message takes four for each token and some 700. Default 32 MiB. */
  maxBytes?: number;
  /**
   * Instead of `maxBytes`: another renderer, and its bound. All that have it keep no more than it together, and see nothing
   * of what the others keep. Over it, the one that keeps most forgets first.
   */
  sharedWith?: ConversationRenderer;
}

/** How the prompt of a completion is made. */
export interface CompletionOptions extends RenderOptions {
  /** Requests of one salt share what was encoded and generated before, those of different salts nothing. Default "". */
  cacheSalt?: string | undefined;
  /**
   * An assistant message that `remember` knows from this conversation is written as the tokens it was generated as
   * (default); `false` encodes every message from its text.
   */
  originalTokens?: boolean | undefined;
  /**
   * Of the prompt and at least one token of the completion: a longer prompt is refused with CONTEXT_OVERFLOW, before any
   * of it is encoded where its length tells, and else as soon as it is certain. Default: any.
   */
  contextLength?: number | undefined;
}

/** The prompt of a completion. */
export interface CompletionPrompt {
  /** Its token ids. */
  tokens: Uint32Array;
  /** Stands for the salt and all that users and tools have said so far: where the answer to this prompt belongs. */
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
 * Renders conversations that grow: a message is encoded once, however often it comes again, and what a model wrote goes
 * back to it as it wrote it. The same ids as `renderConversationForCompletion` otherwise.
 *
 * Both memories go by a SHA-256 digest of what is to be written, so an object that was changed is another message, and
 * no text is kept.
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

  /** @throws GptOssError INVALID_ARGUMENT on an unknown option, or one that cannot be meant */
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
   * Forgets all, and keeps nothing from now on.
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
   * All messages, then `<|start|>` and the role that speaks next.
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
   * The same, with long texts encoded on another thread, and the event loop turning meanwhile. A conversation with little
   * new in it is rendered before this returns, so that it keeps its place before what is asked later.
   *
   * @throws what `signal` is aborted with, as soon as it is
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
   * Keeps the tokens of a message that a model wrote in answer to a prompt, for when it comes back as history.
   *
   * @param tokens from its header on, with or without `<|start|>assistant` and its closing token
   * @returns false when they do not read as exactly this message of the assistant; they are then not kept
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
      [closingToken(given)], // `<|return|>` is what ends sampling, not what ends a message in a history
    ]);
    const key = digestOf(given);
    if (!readsAs(ids, key)) return false;
    keep(this.generated, scope + key, ids);
    return true;
  }

  /** Both ways: asks for the tokens of each text that is new. */
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

/** Of a typed array, its buffer, the key in its two forms and its place in the cache, about: 730 were measured. */
const entryBytes = 600;

function keep(cache: BoundedCache<Uint32Array>, key: string, tokens: Uint32Array): void {
  cache.set(key, tokens, tokens.byteLength + key.length + entryBytes);
}

/** Is given the tokens of each text that it asks for, or null where there are more than `most`. */
type Rendering<T> = Generator<{ text: string; most: number }, T, Uint32Array | null>;

/** Nothing to encode; whoever has worked for long may rest here. */
const pause = { text: "", most: 0 };

/** Whether the reference reads these tokens as this one message, without a control token where none belongs. */
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
    return false; // a header that only the recovering parser understands
  }
  const [read, ...more] = writtenMessages(messages, { autoDropAnalysis: false });
  return read !== undefined && more.length === 0 && digestOf(read) === key;
}

/** Of everything that is written of a message, but for the order within its header. */
function digestOf({ role, name, recipient, channel, contentType, texts }: WrittenMessage): string {
  const header = JSON.stringify([role, name, recipient, channel, contentType, texts.map((text) => text.length)]);
  return digest(header + texts.join(""));
}

/** 44 characters, always. Lone surrogates count as U+FFFD, which is what they are encoded as. */
function digest(text: string): string {
  return hash("sha256", text, "base64");
}
