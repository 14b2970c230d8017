import { readOptions, refuseUnknown } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { checkStop, type GenerateOptions, generateOptionNames } from "../generation/generate-options.js";
import { checkInteger } from "../generation/options.js";
import { type ChatConversationOptions, chatConversationOptionNames } from "./messages.js";
import type { ChatHistoryOptions } from "./prompt.js";
import { type DescribedFormat, type ResponseFormat, readResponseFormat } from "./response-format.js";
import type { TurnOptions } from "./turn.js";
import type { ToolChoice } from "./turn-constraint.js";

/** Options of `Engine.chat`: defaults, checks and meaning, in that order. No other file defines them. */

/**
 * The required form of the answer, in the shapes of OpenAI's API. A constraint enforces it on a model with the full
 * vocabulary.
 */
export interface ChatAnswerOptions {
  /**
   * "auto" (the default): a call of one of the tools, or an answer. "required": a call. A function: a call of this
   * function. "none": no call; the `tools` are then left out of the prompt. Arguments follow their schema. A schema
   * that cannot be compiled refuses the request if the tool is `strict`. Otherwise the arguments are any JSON object,
   * and `relaxed` of the answer lists the tool.
   */
  toolChoice?: "none" | "auto" | "required" | { type: "function"; function: { name: string } } | undefined;
  /** Format of the final message. It is enforced and described to the model. Default: any text. */
  responseFormat?: ResponseFormat | undefined;
  /** The number of reasoning tokens after which the reasoning is closed. 0: no reasoning. Default: no limit. */
  reasoningBudget?: number | undefined;
}

/** Options that a chat sets itself: it has one answer, which ends where the assistant's turn ends. */
const ownMatters = ["n", "stopTokens", "ignoreEos"] as const satisfies readonly (keyof GenerateOptions)[];

/**
 * How to answer, and how to sample.
 *
 * - `stop`: searched for in the text for the user (the final message and the preamble of a call), in each message
 *   separately. The message ends before the stop string.
 * - `logprobs`: for the text of every message, in the events and in `logprobs` of the answer.
 * - `constraint`: replaces the chat's own constraint, and `toolChoice`, `responseFormat` and `reasoningBudget`.
 */
export type ChatOptions = ChatConversationOptions &
  ChatHistoryOptions &
  ChatAnswerOptions &
  Omit<GenerateOptions, (typeof ownMatters)[number]>;

const conversationNames: ReadonlySet<string> = new Set(chatConversationOptionNames);
const historyNames: ReadonlySet<string> = new Set([
  "autoDropAnalysis",
  "toolCallOrder",
  "originalTokens",
] as const satisfies readonly (keyof ChatHistoryOptions)[]);
const answerNames = [
  "toolChoice",
  "responseFormat",
  "reasoningBudget",
] as const satisfies readonly (keyof ChatAnswerOptions)[];
const generateNames: ReadonlySet<string> = new Set(
  [...generateOptionNames].filter((name) => !(ownMatters as readonly string[]).includes(name)),
);
const chatNames: ReadonlySet<string> = new Set([
  ...conversationNames,
  ...historyNames,
  ...answerNames,
  ...generateNames,
]);

/** The options of a chat, checked and grouped by purpose. */
export interface CheckedChat extends TurnOptions {
  conversation: ChatConversationOptions;
  history: ChatHistoryOptions;
  format: TurnOptions["format"] & (DescribedFormat | null);
}

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or an invalid value */
export function checkChatOptions(given: ChatOptions): CheckedChat {
  const options = readOptions("chat", given, chatNames, "ChatOptions");
  const { constraint, stop, logprobs, toolChoice, responseFormat, reasoningBudget } = options;
  const beside = answerNames.find((name) => options[name] !== undefined);
  if (constraint !== undefined && beside !== undefined) {
    const message = `constraint says all that ${beside} would say: give one of the two`;
    throw new GptOssError("INVALID_ARGUMENT", message, { field: "constraint" });
  }
  const { stop: _, constraint: own, ...generate } = pick(options, generateNames) as GenerateOptions;
  const choice = readToolChoice(toolChoice);
  const format = readResponseFormat(responseFormat);
  const most = 2 ** 31 - 1;
  return {
    conversation: {
      ...pick(options, conversationNames),
      ...(choice.type === "none" && { tools: undefined }),
    },
    history: pick(options, historyNames),
    generate,
    stop: stop === undefined ? [] : checkStop(stop),
    includeStop: false,
    logprobs: logprobs !== undefined && logprobs > 0 ? "all" : "none",
    toolChoice: choice,
    format,
    analysisTokens:
      reasoningBudget === undefined ? undefined : checkInteger("reasoningBudget", reasoningBudget, 0, most),
    constraint: own,
  };
}

function readToolChoice(choice: ChatOptions["toolChoice"]): ToolChoice {
  if (choice === undefined || choice === "auto") return { type: "auto" };
  if (choice === "none" || choice === "required") return { type: choice };
  const expected = '"none", "auto", "required" or { type: "function", function: { name } }';
  if (choice === null || typeof choice !== "object" || choice.type !== "function") {
    throw invalidArgument("toolChoice", expected, choice);
  }
  refuseUnknown("toolChoice", choice, new Set(["type", "function"]));
  const name: unknown = (choice.function as { name?: unknown } | null | undefined)?.name;
  if (typeof name !== "string") throw invalidArgument("toolChoice.function.name", "the name of a function", name);
  return { type: "required", names: [name] };
}

/** An undefined option counts as absent. */
function pick(options: ChatOptions, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => names.has(name) && value !== undefined));
}
