import { jsonText } from "../common/exact-json.js";
import { refuseUnknown } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { checkInteger } from "../generation/options.js";
import { assistantMessage, functionCallMessage } from "../harmony/builders.js";
import { type Message, readMessage } from "../harmony/message.js";
import { encodeMessage, joined, openingOf, writtenMessages } from "../harmony/render.js";
import { formatTokens } from "../harmony/tokens.js";
import { checkToolName } from "../harmony/tools.js";
import { tokenizer } from "../tokenizer/tokenizer.js";

/** The output of a scripted engine: as messages of a conversation, or token by token. */

/**
 * The messages of the assistant in one turn: of `think`, `preamble`, `call` and `reply`, or of an earlier answer. A
 * call or a reply ends the turn, so it must be the last message.
 */
export type ScriptedTurn = Message | readonly Message[];

/** One completion: the same for each choice of its request, or `choices[i]` for choice i. */
export type Script =
  | ScriptedTurn
  | ((
      | {
          /** The messages of the assistant in one turn. */
          messages: ScriptedTurn;
        }
      /** A text without conversion, followed by an end: for `generate` and the completions endpoint. */
      | { text: string }
      /** Token ids without conversion, even sequences that a real engine would not produce. */
      | { tokens: ArrayLike<number> }
      | { choices: readonly (ArrayLike<number> | ScriptedTurn)[] }
    ) & {
      /** The number of tokens that arrive together. Default 1. */
      tokensPerStep?: number;
      /** The milliseconds for `tokensPerStep` tokens. The whole engine waits. Default 0. */
      stepDelayMs?: number;
    });

/**
 * Makes a reasoning message, which precedes the visible text.
 *
 * @example
 * ```ts
 * new ScriptedEngine([[think("A greeting."), reply("Hello!")]]);
 * ```
 */
export function think(text: string): Message {
  return assistantMessage({ content: checkText("think", text), channel: "analysis" });
}

/**
 * Makes a text for the user that precedes a call.
 *
 * @example
 * ```ts
 * new ScriptedEngine([[preamble("I look it up."), call("search", { q: "Oslo" })]]);
 * ```
 */
export function preamble(text: string): Message {
  return assistantMessage({ content: checkText("preamble", text), channel: "commentary" });
}

/**
 * Makes the answer: a text, or a value that is written as JSON.
 *
 * @example
 * ```ts
 * new ScriptedEngine([reply("Hello!"), reply({ capital: "Oslo" })]);
 * ```
 */
export function reply(content: string | object): Message {
  return assistantMessage(typeof content === "string" ? content : jsonText("the reply", content, "content"));
}

/**
 * Makes the call of a function. The arguments are a value that is written as JSON, or a text without conversion.
 *
 * @example
 * ```ts
 * new ScriptedEngine([call("get_weather", { city: "Oslo" })]);
 * ```
 */
export function call(name: string, args: string | object = {}): Message {
  const text = typeof args === "string" ? args : jsonText("the arguments", args, "args");
  return functionCallMessage(checkToolName(name, "the name of a call", "name"), text);
}

function checkText(what: string, text: unknown): string {
  if (typeof text !== "string" || text === "") throw invalidArgument(what, "a text that is not empty", text, "text");
  return text;
}

/** The `script` of a request for the addon, which replaces the output of the model. */
export interface NativeScript {
  /** Choice i writes the completion at i modulo their number. None is empty. */
  choices: Uint32Array[];
  /**
   * Whether the script must satisfy the request's constraint, or the request fails. Otherwise the constraint is
   * ignored.
   */
  isHeld: boolean;
  /** The number of tokens that arrive together. */
  tokensPerStep: number;
  /** The milliseconds for `tokensPerStep` tokens. */
  stepDelayMs: number;
}

/** @throws GptOssError INVALID_ARGUMENT that names the invalid part of the script */
export function nativeScript(script: Script, name: string): NativeScript {
  if (isTurn(script)) return nativeScript({ messages: script }, name);
  refuseUnknown(name, script, scriptNames);
  const { tokensPerStep = 1, stepDelayMs = 0 } = script;
  if (!(typeof stepDelayMs === "number" && stepDelayMs >= 0 && stepDelayMs <= 60_000)) {
    throw invalidArgument(`${name}.stepDelayMs`, "milliseconds in [0, 60000]", stepDelayMs);
  }
  const kinds = kindNames.filter((kind) => kind in script);
  if (kinds.length !== 1) throw invalidArgument(name, `one of ${kindNames.join(", ")}`, script);
  const written = completions(script, name);
  return {
    choices: written.map(({ tokens }) => tokens),
    isHeld: written.every(({ isHeld }) => isHeld),
    tokensPerStep: checkInteger(`${name}.tokensPerStep`, tokensPerStep, 1, 65_536),
    stepDelayMs,
  };
}

const kindNames = ["messages", "text", "tokens", "choices"] as const;
const scriptNames: ReadonlySet<string> = new Set([...kindNames, "tokensPerStep", "stepDelayMs"]);

/** `isHeld`: given as messages or text, so it must satisfy the request's constraint. */
interface Written {
  tokens: Uint32Array;
  isHeld: boolean;
}

function completions(script: Exclude<Script, ScriptedTurn>, name: string): Written[] {
  if ("messages" in script) return [turn(script.messages, `${name}.messages`)];
  if ("text" in script) return [text(script.text, `${name}.text`)];
  if ("tokens" in script) return [{ tokens: checkTokens(script.tokens, name), isHeld: false }];
  const { choices } = script;
  if (!Array.isArray(choices) || choices.length === 0) {
    throw invalidArgument(`${name}.choices`, "at least one completion", choices);
  }
  return choices.map((choice: ArrayLike<number> | ScriptedTurn, i) => {
    return isTurn(choice)
      ? turn(choice, `${name}.choices[${i}]`)
      : { tokens: checkTokens(choice, name), isHeld: false };
  });
}

function isTurn(script: unknown): script is ScriptedTurn {
  const [first]: unknown[] = Array.isArray(script) ? script : [script];
  return first !== null && typeof first === "object" && "role" in first;
}

/** Encodes a turn as the model writes it after `<|start|>assistant`. */
function turn(messages: ScriptedTurn, name: string): Written {
  const list: readonly Message[] = Array.isArray(messages) ? messages : [messages];
  if (list.length === 0) throw invalidArgument(name, "at least one message", list);
  for (const [i, message] of list.entries()) {
    const { role, recipient, channel } = readMessage(message, `${name}[${i}]`);
    if (role !== "assistant") throw invalidArgument(`${name}[${i}].role`, '"assistant"', role);
    const endsTurn = recipient !== null || channel === "final";
    if (endsTurn && i + 1 < list.length) {
      const message = `${name}[${i}] ends the turn (a call or a reply), and more follows it`;
      throw new GptOssError("INVALID_ARGUMENT", message, { field: `${name}[${i}]` });
    }
  }
  const written = writtenMessages(list, { autoDropAnalysis: false, toolCallOrder: "channel-first" });
  const tokens = joined(written.map(encodeMessage)).subarray(openingOf("assistant").length);
  if (tokens.at(-1) === formatTokens.end && written.at(-1)!.channel === "final")
    tokens[tokens.length - 1] = formatTokens.return;
  return { tokens, isHeld: true };
}

function text(written: unknown, name: string): Written {
  if (typeof written !== "string") throw invalidArgument(name, "a text", written);
  return { tokens: joined([tokenizer.encode(written), [formatTokens.return]]), isHeld: true };
}

function checkTokens(tokens: unknown, name: string): Uint32Array {
  const list = tokens as ArrayLike<number> | null | undefined;
  if (list === null || typeof list !== "object" || !(list.length > 0)) {
    throw invalidArgument(`the tokens of ${name}`, "at least one token id", tokens, name);
  }
  const known = 201_088; // the rows of the model's embedding
  return Uint32Array.from(list, (token, i) => {
    if (!Number.isInteger(token) || token < 0 || token >= known) {
      throw invalidArgument(`a token of ${name}`, `a token id below ${known}`, token, `${name}[${i}]`);
    }
    return token;
  });
}
