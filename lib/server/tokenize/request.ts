import { type ChatBody, conversationSchema } from "../chat/request.js";
import { badRequest } from "../http/error-response.js";

/** The bodies of /tokenize and /detokenize. */

export interface TokenizeBody extends Partial<ChatBody> {
  prompt?: string;
  parse_special?: boolean;
  return_token_strs?: boolean;
}

export const tokenizeSchema = {
  type: "object",
  properties: {
    ...conversationSchema.properties,
    prompt: { type: "string" },
    parse_special: { type: "boolean" },
    return_token_strs: { type: "boolean" },
    cache_salt: { type: "string", maxLength: 1024 },
  },
};

export const detokenizeSchema = {
  type: "object",
  required: ["tokens"],
  properties: { model: conversationSchema.properties.model, tokens: { type: "array" } },
};

/**
 * Maximum tokens of a request or an answer. It is eight times the model's context, because counting longer texts is
 * allowed.
 */
export const mostTokens = 2 ** 20;

/** Maximum characters of a text in a request or an answer; in JSON, a character may take six. */
export const mostCharacters = 2 ** 24;

export function refuseLongText({ prompt = "" }: TokenizeBody): void {
  if (prompt.length > mostCharacters) throw badRequest("prompt", `Expected at most ${mostCharacters} characters`);
}

export function refuseManyTokens({ tokens }: { tokens: unknown[] }): void {
  if (tokens.length > mostTokens) throw badRequest("tokens", `Expected at most ${mostTokens} tokens`);
}
