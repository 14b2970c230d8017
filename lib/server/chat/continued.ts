import type { ChatMessage, OpenAIMessage } from "../../chat/messages.js";
import { badRequest, unsupported } from "../http/error-response.js";

/** `continue_final_message` of vLLM: the assistant goes on with its last message, which the prompt leaves open. */

export interface ContinuedBody {
  add_generation_prompt?: boolean;
  continue_final_message?: boolean;
  echo?: boolean;
}

export const continuedFields = {
  add_generation_prompt: { type: "boolean" },
  continue_final_message: { type: "boolean" },
};

interface Split {
  /** The messages before the text that is continued; reasoning before it is among them. */
  messages: ChatMessage[];
  /** The text of the last message. Null: the assistant begins a new one. */
  continued: string | null;
}

/** @throws ApiError that names the field */
export function splitContinued(body: ContinuedBody, messages: readonly ChatMessage[]): Split {
  if (body.continue_final_message !== true) return { messages: [...messages], continued: null };
  if (body.add_generation_prompt === true) {
    const message = "continue_final_message and add_generation_prompt cannot both be true";
    throw badRequest("continue_final_message", message);
  }
  const at = `messages[${messages.length - 1}]`;
  const { role, content, reasoning, tool_calls: calls } = messages.at(-1) as OpenAIMessage;
  if (role !== "assistant") {
    throw badRequest(`${at}.role`, `${at}.role must be "assistant", because continue_final_message continues it`);
  }
  if (calls) throw badRequest(`${at}.tool_calls`, `${at}.tool_calls cannot be continued: only a text can`, unsupported);
  if (typeof content !== "string") {
    throw badRequest(`${at}.content`, `${at}.content must be the text that continue_final_message continues`);
  }
  const before = messages.slice(0, -1);
  return { messages: reasoning ? [...before, { role, content: null, reasoning }] : before, continued: content };
}

/** Refuses what makes no sense for a completion. @throws ApiError that names the field */
export function refuseUncontinued(body: ContinuedBody): void {
  if (body.continue_final_message === true) return;
  if (body.add_generation_prompt === false) {
    const message = "add_generation_prompt can be false only together with continue_final_message";
    throw badRequest("add_generation_prompt", message, unsupported);
  }
  if (body.echo === true) {
    throw badRequest("echo", "echo repeats the message that continue_final_message continues", unsupported);
  }
}
