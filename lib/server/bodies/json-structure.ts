import { ApiError } from "../http/errors.js";

/**
 * Estimates the cost to parse, check and answer a body from its text, before it is parsed. JSON.parse takes ten seconds
 * for 32 MB of `[[],[],…]`, and JSON.stringify fails on thousands of levels. Strings cost nothing, whatever their
 * length.
 */

/** Maximum levels of objects and arrays. Schemas of tools nest up to 128 levels, inside some levels of the body. */
export const maxDepth = 256;
/**
 * Maximum objects, arrays and members: more than the messages of a conversation that fills a context of 131,072 tokens.
 */
export const maxNodes = 2 ** 19;
/**
 * The same limit for a body that is answered: the event loop does work for each of them. A message has three, a call
 * twelve, and some hundred tools have ten thousand.
 */
export const maxAnswered = 3 * 2 ** 14;
/** Maximum elements and members: numbers are cheap, and a batch of prompts has many. */
export const maxValues = 2 ** 22;

/**
 * Maximum members of the body itself: an API has some dozens, and JSON.parse is slowest for objects with many members.
 */
export const maxFields = 1000;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Checks limits only: the parser finds invalid JSON.
 *
 * @param text in UTF-8
 * @throws ApiError 400 or 413 for a JSON text with too many levels or values
 */
export function refuseExcess(text: Uint8Array): void {
  let depth = 0;
  let nodes = 0;
  let values = 0;
  let fields = 0;
  for (let at = 0; at < text.length; at++) {
    const mark = text[at];
    if (mark === quote) {
      at = endOfString(text, at + 1);
    } else if (mark === comma) {
      values++;
    } else if (mark === colon) {
      nodes++;
      if (depth === 1 && ++fields > maxFields) throw tooMany(maxFields, "fields");
    } else if (mark === openList || mark === openObject) {
      nodes++;
      if (++depth > maxDepth) throw new ApiError(400, `The body nests more than ${maxDepth} levels of JSON`, tooDeep);
    } else if (mark === closeList || mark === closeObject) {
      depth--;
    }
    if (nodes > maxNodes) throw tooMany(maxNodes, "objects, arrays and members");
    if (values > maxValues) throw tooMany(maxValues, "values");
  }
}

/** @throws ApiError 413 when a parsed body has more objects, arrays and members than the server answers */
export function refuseMany(body: unknown): void {
  let nodes = 0;
  const count = (value: unknown) => {
    if (typeof value !== "object" || value === null) return;
    const items = Object.values(value);
    nodes += Array.isArray(value) ? 1 : 1 + items.length;
    if (nodes > maxAnswered) throw tooMany(maxAnswered, "objects, arrays and members");
    for (const item of items) count(item);
  };
  count(body);
}

const tooDeep = { code: "invalid_value" };

function tooMany(most: number, what: string): ApiError {
  return new ApiError(413, `The body has more than ${most} ${what}`, { code: "request_too_large" });
}

/** The index of the quote that closes a string, or the end of the text. */
function endOfString(text: Uint8Array, from: number): number {
  for (let at = from; ; at++) {
    at = text.indexOf(quote, at);
    if (at < 0) return text.length;
    let escapes = 0;
    while (text[at - 1 - escapes] === backslash && at - 1 - escapes >= from) escapes++;
    if (escapes % 2 === 0) return at;
  }
}
