import { GrammarRefusal } from "./pattern.js";

/** The words of a Lark grammar. */

export interface LarkToken {
  kind: "definition" | "name" | "string" | "regex" | "number" | "directive" | "mark";
  /** The name of a definition, the text between quotes or slashes, or the token as it is written. */
  text: string;
  /** The letters behind a quote or slash. */
  flags: string;
  /** The line in the grammar, from 1. */
  line: number;
}

/** The first form that matches where the token before ended. */
const forms: readonly (readonly [LarkToken["kind"] | "blank", RegExp])[] = [
  ["blank", /(?:[ \t\r\n]|\/\/[^\n]*|#[^\n]*)+/y],
  ["definition", /[?!]{0,2}(\w+)(?:\.-?\d+)?[ \t]*:/y],
  ["string", /"((?:[^"\\\n]|\\.)*)"(i?)/y],
  ["regex", /\/((?:[^/\\\n]|\\.)+)\/([a-z]*)/y],
  ["number", /-?\d+/y],
  ["name", /\w+/y],
  ["directive", /%\w+/y],
  ["mark", /->|\.\.|[|()[\]?*+~.,]/y],
];

/** @throws GrammarRefusal at the first text that is no token */
export function larkTokens(definition: string): LarkToken[] {
  const tokens: LarkToken[] = [];
  let line = 1;
  for (let at = 0; at < definition.length; ) {
    const [kind, whole, inner = whole, flags = ""] = tokenAt(definition, at, line);
    if (kind === "blank") line += whole.split("\n").length - 1;
    else tokens.push({ kind, text: inner, flags, line });
    at += whole.length;
  }
  return tokens;
}

type Match = readonly [LarkToken["kind"] | "blank", string, (string | undefined)?, (string | undefined)?];

function tokenAt(definition: string, at: number, line: number): Match {
  for (const [kind, form] of forms) {
    form.lastIndex = at;
    const match = form.exec(definition);
    if (match !== null) return [kind, match[0], match[1], match[2]];
  }
  // Not the next character either: a quote without an end would be looked for again and again.
  throw refusedAt(line, JSON.stringify(String.fromCodePoint(definition.codePointAt(at)!)));
}

export function refusedAt(line: number, what: string): GrammarRefusal {
  return new GrammarRefusal(`${what} in line ${line}`);
}
