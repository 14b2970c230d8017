import { readFileSync } from "node:fs";
import path from "node:path";
import { GptOssError } from "../../errors.js";
import { tokenizer } from "../../tokenizer/tokenizer.js";
import type { BenchParameters } from "../rows.js";
import { isObject } from "./failure.js";

/** What a request asks. */
export interface Prompt {
  /** For a chat; a prompt of plain text is one message of a user. */
  messages: readonly unknown[];
  /** For a completion; null: there are only messages. */
  text: string | null;
  /** By our tokenizer, without what a chat template adds. */
  tokens: number;
  maxTokens: number;
}

export interface PromptSource {
  /** What identifies the prompts in a row. */
  readonly parameters: BenchParameters;
  next(): Prompt;
}

const fromUser = (text: string) => [{ role: "user", content: text }];

/**
 * Prompts of random English words. Two of them begin with different words, so no server has a prefix of one in its cache
 * from another.
 */
export class RandomPrompts implements PromptSource {
  readonly parameters: BenchParameters;
  readonly #inputTokens: number;
  readonly #outputTokens: number;
  readonly #words = commonWords();
  readonly #random: () => number;

  constructor(inputTokens: number, outputTokens: number, random: () => number) {
    this.parameters = { inputTokens, outputTokens };
    this.#inputTokens = inputTokens;
    this.#outputTokens = outputTokens;
    this.#random = random;
  }

  next(): Prompt {
    const word = () => this.#words[Math.floor(this.#random() * this.#words.length)]!;
    const text = Array.from({ length: this.#inputTokens }, word).join(" ");
    return { messages: fromUser(text), text, tokens: this.#inputTokens, maxTokens: this.#outputTokens };
  }
}

/** Where the rows of the vocabulary become rare words. */
const commonRows = 20_000;

/** Words that are one token each, at the beginning of a text and after a blank. */
function commonWords(): string[] {
  const words: string[] = [];
  for (let id = 0; id < commonRows; id++) {
    const token = tokenizer.decode([id]);
    if (/^ [a-z]{3,}$/.test(token) && tokenizer.count(token.slice(1)) === 1) words.push(token.slice(1));
  }
  return words;
}

/** The prompts of a file of JSON lines, in order, again and again. */
export class FilePrompts implements PromptSource {
  readonly parameters: BenchParameters;
  readonly #prompts: readonly Prompt[];
  #next = 0;

  /** @throws GptOssError INVALID_ARGUMENT for a file that cannot be read, and for a wrong line */
  constructor(file: string, outputTokens: number, endpoint: "chat" | "completions") {
    this.#prompts = readLines(file).map(({ line, place }) => readPrompt(line, place, outputTokens, endpoint));
    if (this.#prompts.length === 0) throw wrong(`${file} has no prompt`);
    this.parameters = { prompts: path.basename(file), outputTokens };
  }

  next(): Prompt {
    const prompt = this.#prompts[this.#next++ % this.#prompts.length]!;
    return prompt;
  }
}

function wrong(message: string, cause?: unknown): GptOssError {
  return new GptOssError("INVALID_ARGUMENT", message, { field: "prompts", cause });
}

function readLines(file: string): { line: string; place: string }[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw wrong(`The prompts cannot be read: ${(error as Error).message}`, error);
  }
  return text
    .split(/\r?\n/)
    .map((line, i) => ({ line, place: `line ${i + 1} of ${file}` }))
    .filter(({ line }) => line.trim() !== "");
}

function readPrompt(line: string, place: string, outputTokens: number, endpoint: "chat" | "completions"): Prompt {
  let given: unknown;
  try {
    given = JSON.parse(line);
  } catch (error) {
    throw wrong(`${place} is no JSON`, error);
  }
  if (!isObject(given)) throw wrong(`${place} is no JSON object`);
  const { prompt, messages, max_tokens: maxTokens = outputTokens } = given;
  if (!Number.isSafeInteger(maxTokens) || (maxTokens as number) < 1)
    throw wrong(`${place}: expected a positive integer for max_tokens`);
  if ((prompt === undefined) === (messages === undefined))
    throw wrong(`${place}: expected one of "prompt" and "messages"`);
  if (messages === undefined) {
    if (typeof prompt !== "string" || prompt === "") throw wrong(`${place}: expected a text for prompt`);
    const tokens = tokenizer.count(prompt);
    return { messages: fromUser(prompt), text: prompt, tokens, maxTokens: maxTokens as number };
  }
  if (endpoint === "completions") throw wrong(`${place}: "messages" need the chat endpoint, "prompt" goes with both`);
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isObject))
    throw wrong(`${place}: expected a list of messages`);
  const tokens = messages.reduce((sum, { content }) => sum + tokenizer.count(textOf(content)), 0);
  return { messages, text: null, tokens, maxTokens: maxTokens as number };
}

/** The text of a message, whose content may be a list of parts. */
function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (isObject(part) && typeof part.text === "string" ? part.text : "")).join("");
}
