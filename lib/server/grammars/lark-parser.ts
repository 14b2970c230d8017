import { toUSVString } from "node:util";
import { commonTerminals } from "./lark-common.js";
import { type LarkToken, larkTokens, refusedAt } from "./lark-tokens.js";
import { inOurDialect, literal, type Pattern, pattern, range } from "./pattern.js";

/** A part of a definition. A name stands for the definition of this name. */
export type LarkPart =
  | { kind: "pattern"; pattern: Pattern }
  | { kind: "name"; name: string; line: number }
  | { kind: "sequence" | "either"; parts: readonly LarkPart[] }
  | { kind: "counted"; part: LarkPart; count: string };

/** Levels of groups: bounds the recursion. */
const maxDepth = 64;

/** @throws GrammarRefusal at the first part that is not supported */
export function parseLark(definition: string): ReadonlyMap<string, LarkPart> {
  return new Parser(larkTokens(definition)).definitions();
}

class Parser {
  readonly #tokens: readonly LarkToken[];
  readonly #definitions = new Map<string, LarkPart>();
  #at = 0;

  constructor(tokens: readonly LarkToken[]) {
    this.#tokens = tokens;
  }

  definitions(): ReadonlyMap<string, LarkPart> {
    while (this.#at < this.#tokens.length) {
      const token = this.#next();
      if (token.kind === "definition") this.#define(token.text, this.#either(token, 0), token);
      else if (token.kind === "directive" && token.text === "%import") this.#import(token);
      else throw refused(token);
    }
    return this.#definitions;
  }

  #define(name: string, part: LarkPart, { line }: LarkToken): void {
    if (this.#definitions.has(name)) throw refusedAt(line, `a second definition of ${name}`);
    this.#definitions.set(name, part);
  }

  /** `%import common.NAME`, also with `-> OTHER` behind it, or `%import common (NAME, OTHER)`. */
  #import(token: LarkToken): void {
    if (this.#next().text !== "common") throw refusedAt(token.line, "%import from another grammar than common");
    if (this.#take(".")) {
      const name = this.#name();
      this.#define(this.#take("->") ? this.#name() : name, common(name, token), token);
      return;
    }
    if (!this.#take("(")) throw refusedAt(token.line, "%import without a name");
    do {
      const name = this.#name();
      this.#define(name, common(name, token), token);
    } while (this.#take(","));
    if (!this.#take(")")) throw refused(this.#next());
  }

  #either(opened: LarkToken, depth: number): LarkPart {
    if (depth > maxDepth) throw refusedAt(opened.line, `a group more than ${maxDepth} levels deep`);
    const parts: LarkPart[] = [];
    do {
      parts.push(this.#sequence(depth));
      if (this.#take("->")) this.#name(); // it names a node of Lark's tree, and says nothing about the text
    } while (this.#take("|"));
    return { kind: "either", parts };
  }

  #sequence(depth: number): LarkPart {
    const parts: LarkPart[] = [];
    while (this.#at < this.#tokens.length && !endsSequence(this.#tokens[this.#at]!)) {
      parts.push(this.#counted(this.#unit(this.#next(), depth)));
    }
    return { kind: "sequence", parts };
  }

  #unit(token: LarkToken, depth: number): LarkPart {
    if (token.kind === "name") return { kind: "name", name: token.text, line: token.line };
    if (token.kind === "string") return { kind: "pattern", pattern: this.#string(token) };
    if (token.kind === "regex") return { kind: "pattern", pattern: regex(token) };
    const close = token.kind === "mark" ? closing[token.text] : undefined;
    if (close === undefined) throw refused(token);
    const part = this.#either(token, depth + 1);
    if (!this.#take(close)) throw refusedAt(token.line, `a "${token.text}" that is not closed`);
    return close === ")" ? part : { kind: "counted", part, count: "?" };
  }

  #string(token: LarkToken): Pattern {
    const text = unquoted(token);
    if (!this.#take("..")) return literal(text, token.flags === "i");
    const last = unquoted(this.#next());
    if ([...text].length === 1 && [...last].length === 1) return range(text, last);
    throw refusedAt(token.line, "a range whose ends are not characters");
  }

  #counted(part: LarkPart): LarkPart {
    for (const count of ["?", "*", "+"]) if (this.#take(count)) return { kind: "counted", part, count };
    if (!this.#take("~")) return part;
    const least = this.#number();
    return { kind: "counted", part, count: this.#take("..") ? `{${least},${this.#number()}}` : `{${least}}` };
  }

  #name(): string {
    const token = this.#next();
    if (token.kind !== "name") throw refused(token);
    return token.text;
  }

  #number(): string {
    const token = this.#next();
    if (token.kind !== "number") throw refused(token);
    return token.text;
  }

  #take(mark: string): boolean {
    const token = this.#tokens[this.#at];
    if (token?.kind !== "mark" || token.text !== mark) return false;
    this.#at++;
    return true;
  }

  #next(): LarkToken {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw refusedAt(this.#tokens.at(-1)!.line, "an unexpected end");
    return token;
  }
}

const closing: Readonly<Record<string, string | undefined>> = { "(": ")", "[": "]" };

function endsSequence({ kind, text }: LarkToken): boolean {
  if (kind === "mark") return ["|", ")", "]", "->"].includes(text);
  return kind === "definition" || kind === "directive";
}

function common(name: string, { line }: LarkToken): LarkPart {
  const terminal = commonTerminals.get(name);
  if (terminal === undefined) throw refusedAt(line, `%import of common.${name}`);
  return { kind: "pattern", pattern: pattern(terminal) };
}

function regex({ text, flags, line }: LarkToken): Pattern {
  if (!/^[su]*$/.test(flags)) throw refusedAt(line, `a regular expression with the flags "${flags}"`);
  return pattern(inOurDialect(text, flags.includes("s") ? "[\\s\\S]" : undefined).text);
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", f: "\f", v: "\v" };

/** The text of a string with Python's escapes. */
function unquoted(token: LarkToken): string {
  if (token.kind !== "string") throw refused(token);
  const text = token.text.replace(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/gu, (whole, byte, unit, other) => {
    const code = byte ?? unit;
    if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
    if (Object.hasOwn(escapes, other)) return escapes[other]!;
    if (/\w/.test(other)) throw refusedAt(token.line, `the escape ${JSON.stringify(whole)}`);
    return other;
  });
  if (toUSVString(text) !== text) throw refusedAt(token.line, "half of a surrogate pair");
  return text;
}

function refused({ text, line }: LarkToken): Error {
  return refusedAt(line, JSON.stringify(text));
}
