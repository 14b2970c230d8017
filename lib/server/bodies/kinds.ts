import { chatSchema, refuseLongChat } from "../chat/request.js";
import { completionSchema, refuseLongPrompts } from "../completions/request.js";
import { conversationItemsSchema, conversationSchema, conversationUpdateSchema } from "../conversations/request.js";
import { inputTokensSchema, refuseLongInput, responseSchema } from "../responses/request.js";
import { detokenizeSchema, refuseLongText, refuseManyTokens, tokenizeSchema } from "../tokenize/request.js";
import { BodyCheck } from "./body-check.js";
import {
  chatFields,
  completionFields,
  conversationFields,
  conversationItemsFields,
  conversationUpdateFields,
  detokenizeFields,
  inputTokensFields,
  responseFields,
  tokenizeFields,
} from "./known-fields.js";

/** The body kinds of the endpoints. */

export const chatCheck = new BodyCheck("chat", chatSchema, chatFields, refuseLongChat);
export const completionCheck = new BodyCheck("completion", completionSchema, completionFields, refuseLongPrompts);
export const responseCheck = new BodyCheck("response", responseSchema, responseFields, refuseLongInput);
export const inputTokensCheck = new BodyCheck("input tokens", inputTokensSchema, inputTokensFields);
export const conversationCheck = new BodyCheck("conversation", conversationSchema, conversationFields, () => {}, {});
export const conversationUpdateCheck = new BodyCheck(
  "conversation update",
  conversationUpdateSchema,
  conversationUpdateFields,
);
export const conversationItemsCheck = new BodyCheck(
  "conversation items",
  conversationItemsSchema,
  conversationItemsFields,
);
export const tokenizeCheck = new BodyCheck("tokenize", tokenizeSchema, tokenizeFields, refuseLongText);
export const detokenizeCheck = new BodyCheck("detokenize", detokenizeSchema, detokenizeFields, refuseManyTokens);

const checks = [
  ...[chatCheck, completionCheck, responseCheck, inputTokensCheck, tokenizeCheck, detokenizeCheck],
  ...[conversationCheck, conversationUpdateCheck, conversationItemsCheck],
];
export const checkOf: ReadonlyMap<string, BodyCheck> = new Map(checks.map((check) => [check.name, check]));
