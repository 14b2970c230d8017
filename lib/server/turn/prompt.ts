import { type ChatMessage, makeConversation } from "../../chat/messages.js";
import { describeFormat } from "../../chat/response-format.js";
import { Breather } from "../../common/breather.js";
import { own } from "../../common/given-values.js";
import { unhurried } from "../../common/steps.js";
import type { CompletionPrompt } from "../../harmony/conversation-renderer.js";
import type { Message } from "../../harmony/message.js";
import { refuseManyLines } from "../../harmony/render.js";
import type { FunctionTool } from "../../harmony/tools.js";
import type { DeclaredFunction, TurnRequest } from "./turn.js";

/** What of a request the model is to read, and who no longer waits for it. */
export type PromptRequest = Partial<Pick<TurnRequest, "signal">> &
  Pick<
    TurnRequest,
    | "tenant"
    | "messages"
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
 * The tokens of the conversation up to and including `<|start|>assistant`. Analysis from before the last final message
 * is dropped; tools are left out when none may be called; the format of the answer ends the developer message. Long texts
 * are encoded on another thread.
 *
 * @throws GptOssError INVALID_ARGUMENT that names the message and field, CONTEXT_OVERFLOW; the reason of an abort
 */
export async function renderTurn(request: PromptRequest, contextLength: number): Promise<CompletionPrompt> {
  const { reasoning, renderer } = request.tenant;
  const breather = new Breather();
  const messages = reasoning.restore(request.messages.filter((message) => !saysNothing(message)));
  const isCalling = request.toolChoice.type !== "none" && request.tools.length > 0;
  const making = makeConversation(messages, {
    reasoningEffort: request.effort,
    currentDate: request.date,
    developerInstructions: request.instructions || undefined,
    tools: isCalling ? request.tools.map(functionTool) : undefined,
    modelIdentity: request.modelIdentity,
  });
  const conversation = await unhurried(making, breather);
  if (request.format !== null) {
    refuseManyLines(contextLength, request.format.description ?? "");
    describeFormat(conversation.messages, request.format);
  }
  own(conversation.messages);
  await breather.rest();
  return renderer.renderForCompletionAsync(conversation, "assistant", {
    autoDropAnalysis: "past",
    cacheSalt: request.cacheSalt,
    contextLength,
    signal: request.signal,
  });
}

function functionTool({ name, description, parameters }: DeclaredFunction): FunctionTool {
  return { type: "function", function: { name, description: description ?? "", parameters: parameters ?? null } };
}

/** Empty instructions would make an empty developer message; an answer that was cut off early comes back as nothing. */
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
