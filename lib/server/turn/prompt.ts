import type { ChatMessage } from "../../chat/messages.js";
import { renderPromptAsync, type TurnPrompt } from "../../chat/prompt.js";
import type { Message } from "../../harmony/message.js";
import type { FunctionTool } from "../../harmony/tools.js";
import type { DeclaredFunction, TurnRequest } from "./turn.js";

/** The parts of a request that its prompt depends on, and the signal that cancels the rendering. */
export type PromptRequest = Partial<Pick<TurnRequest, "signal">> &
  Pick<
    TurnRequest,
    | "tenant"
    | "messages"
    | "continued"
    | "instructions"
    | "tools"
    | "toolChoice"
    | "format"
    | "effort"
    | "date"
    | "modelIdentity"
    | "cacheSalt"
  >;

/**
 * Renders the prompt of a request. Leaves out tools if none may be called, and empty messages.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the message and field, CONTEXT_OVERFLOW; the reason of an abort
 */
export function renderTurn(request: PromptRequest, contextLength: number): Promise<TurnPrompt> {
  const conversation = {
    reasoningEffort: request.effort,
    currentDate: request.date,
    developerInstructions: request.instructions || undefined,
    tools: request.toolChoice.type === "none" ? undefined : request.tools.map(functionTool),
    modelIdentity: request.modelIdentity,
  };
  return renderPromptAsync(
    request.tenant,
    {
      messages: request.messages.filter((message) => !saysNothing(message)),
      conversation,
      history: {},
      format: request.format,
      cacheSalt: request.cacheSalt,
      continued: request.continued,
      contextLength,
    },
    request.signal,
  );
}

function functionTool({ name, description, parameters, strict }: DeclaredFunction): FunctionTool {
  return {
    type: "function",
    function: { name, description: description ?? "", parameters: parameters ?? null, strict: strict ?? null },
  };
}

/**
 * Empty instructions would make an empty developer message. A client sends an answer that was cut off early as empty
 * text.
 */
function saysNothing(message: ChatMessage): boolean {
  if ("channel" in message || "recipient" in message) return false;
  const { role, content } = message;
  if (role === "system" || role === "developer") return isEmptyText(content);
  if (role !== "assistant" || (content !== null && content !== undefined)) return false;
  const { refusal, reasoning, reasoning_content, thinking, tool_calls } = message as Exclude<ChatMessage, Message>;
  return [refusal, reasoning, reasoning_content, thinking].every((text) => !text) && !tool_calls?.length;
}

function isEmptyText(content: ChatMessage["content"]): boolean {
  if (!Array.isArray(content)) return content === "";
  return content.every((part) => part !== null && typeof part === "object" && "text" in part && part.text === "");
}
