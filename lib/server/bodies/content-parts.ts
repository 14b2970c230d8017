import { ApiError } from "../http/errors.js";
import { isObject } from "./fields.js";
import { invalid, requiredString } from "./refusals.js";

/**
 * The text of a message's content: a string, or an array of text parts, joined without a separator.
 *
 * @param at the place of the content in the request, such as `messages[2].content`
 * @throws ApiError 400 that names the part, also for images, audio and files
 */
export function contentText(content: unknown, at: string): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw invalid(at, "a string or an array of text parts", content);
  return content.map((part: unknown, index) => partText(part, `${at}[${index}]`)).join("");
}

function partText(part: unknown, at: string): string {
  if (typeof part === "string") return part;
  if (!isObject(part)) throw invalid(at, "a text part", part);
  switch (part.type) {
    case "text":
    case "input_text":
    case "output_text":
      return requiredString(part.text, `${at}.text`);
    case "refusal":
      return requiredString(part.refusal, `${at}.refusal`);
    default: {
      const message = `Expected a text part for '${at}': gpt-oss reads text only, no images, audio or files.`;
      throw new ApiError(400, message, { param: `${at}.type`, code: "unsupported_parameter" });
    }
  }
}
