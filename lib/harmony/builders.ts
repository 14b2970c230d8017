import { readOptions } from "../common/unknown-option.js";
import { invalidArgument } from "../errors.js";
import { builtinTools } from "./builtin-tools.js";
import type { Message, ReasoningEffort, ToolNamespace, ToolNamespaces } from "./message.js";
import { constrainMarker } from "./tokens.js";
import { type FunctionTool, functionsNamespace, functionTools } from "./tools.js";

/** Builds messages in canonical shape, with the defaults of gpt-oss's training. */

export const defaultIdentity = "You are ChatGPT, a large language model trained by OpenAI.";
export const defaultKnowledgeCutoff = "2024-06";

/** Options of `systemMessage`. */
export interface SystemMessageOptions {
  /** For this field and those below: null leaves the line out. */
  modelIdentity?: string | null;
  /** Default "2024-06". */
  knowledgeCutoff?: string | null;
  /** `YYYY-MM-DD`; no date by default. */
  currentDate?: string | null;
  /** Default "medium". */
  reasoningEffort?: ReasoningEffort | null;
  /** Default analysis, commentary and final; null or empty leaves the line out. */
  channels?: readonly string[] | null;
  /** Built-in tools by name, or custom namespaces. */
  tools?: readonly ("browser" | "python" | ToolNamespace)[];
}

/** Options of `developerMessage`. */
export interface DeveloperMessageOptions {
  /** Other formats call this the system prompt. */
  instructions?: string | null;
  /** The caller's functions, as OpenAI function-tool definitions. */
  tools?: readonly FunctionTool[];
  /** Tools in custom namespaces. */
  namespaces?: readonly ToolNamespace[];
}

/** Options of `assistantMessage`. */
export interface AssistantMessageOptions {
  /** Text of the message. */
  content: string;
  /** Default "final"; null for none. */
  channel?: string | null;
  /** The called tool, for example "functions.get_weather". */
  recipient?: string | null;
  /** For example "<|constrain|>json". */
  contentType?: string | null;
}

/** Options of `toolMessage`. */
export interface ToolMessageOptions {
  /** The author, for example "functions.get_weather". */
  name: string;
  /** The result of the tool. */
  content: string;
  /** Default "assistant". */
  recipient?: string | null;
  /** Default "commentary"; built-in tools answer on "analysis". */
  channel?: string | null;
}

const systemNames = new Set([
  "modelIdentity",
  "knowledgeCutoff",
  "currentDate",
  "reasoningEffort",
  "channels",
  "tools",
] as const satisfies readonly (keyof SystemMessageOptions)[]);
const developerNames = new Set(["instructions", "tools", "namespaces"]);
const assistantNames = new Set(["content", "channel", "recipient", "contentType"]);
const toolNames = new Set(["name", "content", "recipient", "channel"]);

/**
 * Builds the system message, with the defaults of gpt-oss's training.
 *
 * @throws GptOssError INVALID_ARGUMENT on an unknown option or built-in tool
 * @example
 * ```ts
 * systemMessage({ reasoningEffort: "high", currentDate: "2026-01-31" });
 * ```
 */
export function systemMessage(options: SystemMessageOptions = {}): Message {
  const {
    modelIdentity = defaultIdentity,
    knowledgeCutoff = defaultKnowledgeCutoff,
    currentDate = null,
    reasoningEffort = "medium",
    channels = ["analysis", "commentary", "final"],
    tools = [],
  } = readOptions("systemMessage", options, systemNames);
  return {
    role: "system",
    content: [
      {
        type: "system_content",
        model_identity: modelIdentity,
        reasoning_effort: reasoningEffort,
        conversation_start_date: currentDate,
        knowledge_cutoff: knowledgeCutoff,
        channel_config: channels === null ? null : { valid_channels: [...channels], channel_required: true },
        tools: tools.length > 0 ? byName(tools.map(namespaceOf)) : null,
      },
    ],
  };
}

/**
 * Builds the developer message: instructions, and the tools that the model can call.
 *
 * @throws GptOssError INVALID_ARGUMENT on an unknown option or a bad tool definition
 * @example
 * ```ts
 * developerMessage({ instructions: "Answer in French.", tools: [{ type: "function", function: { name: "now" } }]
 * });
 * ```
 */
export function developerMessage(options: DeveloperMessageOptions): Message {
  const { instructions = null, tools = [], namespaces = [] } = readOptions("developerMessage", options, developerNames);
  const all = tools.length > 0 ? [functionTools(tools), ...namespaces] : namespaces;
  return {
    role: "developer",
    content: [{ type: "developer_content", instructions, tools: all.length > 0 ? byName(all) : null }],
  };
}

/**
 * Builds a message of the user.
 * @example
 * ```ts
 * userMessage("Why is the sky blue?");
 * ```
 */
export function userMessage(text: string): Message {
  return { role: "user", content: [{ type: "text", text }] };
}

/**
 * Builds a message of the assistant. A string is an answer on the `final` channel.
 *
 * @throws GptOssError INVALID_ARGUMENT on an unknown option
 * @example
 * ```ts
 * assistantMessage({ content: "The user greets me.", channel: "analysis" });
 * ```
 */
export function assistantMessage(options: string | AssistantMessageOptions): Message {
  if (typeof options === "string") return assistantMessage({ content: options });
  const given = readOptions("assistantMessage", options, assistantNames);
  const { content, channel = "final", recipient = null, contentType = null } = given;
  return {
    role: "assistant",
    content: [{ type: "text", text: content }],
    ...(recipient !== null && { recipient }),
    ...(channel !== null && { channel }),
    ...(contentType !== null && { content_type: contentType }),
  };
}

/** Builds the call of one of the caller's functions, in the form of a conversation's history. */
export function functionCallMessage(name: string, argumentsJson: string): Message {
  return assistantMessage({
    content: argumentsJson,
    channel: "commentary",
    recipient: `${functionsNamespace}.${name}`,
    contentType: `${constrainMarker}json`,
  });
}

/**
 * Builds the message with the result of a tool.
 *
 * @throws GptOssError INVALID_ARGUMENT on an unknown option
 * @example
 * ```ts
 * toolMessage({ name: "functions.get_weather", content: '{"temperature": 20}' });
 * ```
 */
export function toolMessage(options: ToolMessageOptions): Message {
  const given = readOptions("toolMessage", options, toolNames);
  const { name, content, recipient = "assistant", channel = "commentary" } = given;
  return {
    role: "tool",
    name,
    content: [{ type: "text", text: content }],
    ...(recipient !== null && { recipient }),
    ...(channel !== null && { channel }),
  };
}

function namespaceOf(tool: "browser" | "python" | ToolNamespace): ToolNamespace {
  if (typeof tool !== "string") return tool;
  const builtin = builtinTools[tool];
  if (builtin === undefined) throw invalidArgument("tools", '"browser", "python" or a namespace', tool);
  return builtin;
}

function byName(namespaces: readonly ToolNamespace[]): ToolNamespaces {
  return Object.fromEntries(namespaces.map((namespace) => [namespace.name, namespace]));
}
