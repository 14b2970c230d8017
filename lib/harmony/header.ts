import { GptOssError } from "../errors.js";
import { type Role, roles } from "./message.js";
import { channelMarker, constrainMarker } from "./tokens.js";

/** The part between `<|start|>` and `<|message|>`, parsed from its text with control tokens spelled out. */
export interface Header {
  role: Role;
  name: string | null;
  channel: string | null;
  recipient: string | null;
  contentType: string | null;
}

/** An error of the parser. Its first words are those of the reference, so that users find it by search. */
export function malformed(what: string): GptOssError {
  return new GptOssError("INVALID_ARGUMENT", `${what} (malformed harmony tokens)`);
}

/**
 * Parses a header as the reference does.
 * @param role the role when it is known beforehand; otherwise the first word of the header is the role
 * @throws GptOssError INVALID_ARGUMENT
 */
export function parseHeader(text: string, role: Role | null): Header {
  const { channel, rest } = splitChannel(text);
  if (channel === "") throw malformed("channel marker present but no channel value found in header");
  const words = headerWords(rest);
  const author = takeAuthor(words, role);

  let recipient: string | null = null;
  let contentType: string | null = null;
  const last = words.pop();
  if (last?.startsWith("to=")) {
    recipient = last.slice(3);
  } else if (last !== undefined) {
    const before = words.pop();
    contentType = before === undefined ? null : last;
    recipient = withoutTo(before ?? last);
  }
  if (words.length > 0)
    throw malformed(`unexpected tokens remaining in message header: ${JSON.stringify(words.join(" "))}`);
  return { ...author, channel, recipient, contentType };
}

/** Cuts the first `<|channel|>NAME` out of a header. The name is empty when the marker has no name. */
export function splitChannel(text: string): { channel: string | null; rest: string } {
  const marker = text.indexOf(channelMarker);
  if (marker < 0) return { channel: null, rest: text };
  const after = text.slice(marker + channelMarker.length);
  const channel = /^[^\p{White_Space}<]*/u.exec(after)![0];
  return { channel, rest: text.slice(0, marker) + after.slice(channel.length) };
}

/** Splits a header into words. `<|constrain|>` always begins a word. Only ASCII white space separates. */
export function headerWords(text: string): string[] {
  const spaced = trimmed(text).replaceAll(constrainMarker, ` ${constrainMarker}`);
  return spaced.split(/[ \t\n\f\r]+/).filter((word) => word !== "");
}

/** Trims Unicode white space at both ends. A regular expression would rescan from each space of a long inner run. */
function trimmed(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && whiteSpace.test(text[from]!)) from++;
  while (to > from && whiteSpace.test(text[to - 1]!)) to--;
  return text.slice(from, to);
}

const whiteSpace = /\p{White_Space}/u; // each of them is a single UTF-16 unit

function takeAuthor(words: string[], preset: Role | null): { role: Role; name: string | null } {
  let author: { role: Role; name: string | null } = { role: preset ?? "assistant", name: null };
  if (preset === null) {
    const [first] = words;
    if (first === undefined) throw malformed("message header did not contain a role");
    author = authorOf(first, words.length > 1);
    if (!isRole(first)) words.shift();
  }
  if (words[0] === author.role) words.shift();
  return author;
}

/** An unknown word is the name of a tool if more words follow or if the word is a recipient. */
function authorOf(word: string, moreFollow: boolean): { role: Role; name: string | null } {
  if (isRole(word)) return { role: word, name: word === "tool" ? word : null };
  if (moreFollow || word.startsWith("to=")) return { role: "tool", name: word };
  throw malformed(`Unknown role: ${word}`);
}

export function isRole(word: string | undefined): word is Role {
  return (roles as readonly (string | undefined)[]).includes(word);
}

function withoutTo(word: string): string {
  return word.startsWith("to=") ? word.slice(3) : word;
}
