import { chatSchema, refuseLongChat } from "../chat/request.js";
import { completionSchema, refuseLongPrompts } from "../completions/request.js";
import { inputTokensSchema, refuseLongInput, responseSchema } from "../responses/request.js";
import { detokenizeSchema, refuseLongText, refuseManyTokens, tokenizeSchema } from "../tokenize/request.js";
import { BodyCheck } from "./body-check.js";
import {
  chatFields,
  completionFields,
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
export const tokenizeCheck = new BodyCheck("tokenize", tokenizeSchema, tokenizeFields, refuseLongText);
export const detokenizeCheck = new BodyCheck("detokenize", detokenizeSchema, detokenizeFields, refuseManyTokens);

const checks = [chatCheck, completionCheck, responseCheck, inputTokensCheck, tokenizeCheck, detokenizeCheck];
export const checkOf: ReadonlyMap<string, BodyCheck> = new Map(checks.map((check) => [check.name, check]));
