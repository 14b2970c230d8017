/** Regular expressions that are put together from parts. */

/** How much a part holds together: alternatives, parts in a row, or one unit that a count can follow. */
type Binding = 0 | 1 | 2;

export interface Pattern {
  readonly text: string;
  readonly binding: Binding;
}

/** Characters of a pattern. A grammar whose rules use each other often enough could otherwise fill the memory. */
export const mostCharacters = 2 ** 16;

/** A part of a grammar that is not supported, or a mistake in it. The message names it. */
export class GrammarRefusal extends Error {}

export function tooLong(): GrammarRefusal {
  return new GrammarRefusal(`a pattern of more than ${mostCharacters} characters`);
}

/** A part of unknown form. */
export function pattern(text: string): Pattern {
  return { text, binding: 0 };
}

export function literal(text: string, ignoresCase: boolean): Pattern {
  const units = [...text].map((character) => (ignoresCase ? inBothCases(character) : escaped(character)));
  return { text: units.join(""), binding: units.length === 1 ? 2 : 1 };
}

export function range(first: string, last: string): Pattern {
  const [from, to] = [first, last].map((end) => end.replace(/[\\\]^-]/, "\\$&"));
  return { text: `[${from}-${to}]`, binding: 2 };
}

/** @throws GrammarRefusal when the pattern is too long */
export function sequence(parts: readonly Pattern[]): Pattern {
  return parts.length === 1 ? parts[0]! : { text: joined(parts, 1, ""), binding: 1 };
}

/** @throws GrammarRefusal when the pattern is too long */
export function either(parts: readonly Pattern[]): Pattern {
  return parts.length === 1 ? parts[0]! : { text: joined(parts, 0, "|"), binding: 0 };
}

/** @param count such as `*` or `{2,5}` */
export function counted(part: Pattern, count: string): Pattern {
  return { text: held(part, 2) + count, binding: 1 };
}

/** The pattern of whole texts. */
export function anchored(whole: Pattern): string {
  return `^${held(whole, 1)}$`;
}

function held({ text, binding }: Pattern, least: Binding): string {
  return binding >= least ? text : `(?:${text})`;
}

function joined(parts: readonly Pattern[], least: Binding, between: string): string {
  // Added up before the parts are joined: together they may be longer than any text can be.
  const length = parts.reduce((sum, { text }) => sum + text.length + between.length, 0);
  if (length > mostCharacters) throw tooLong();
  return parts.map((part) => held(part, least)).join(between);
}

function escaped(character: string): string {
  return /[\\^$.*+?()[\]{}|/]/.test(character) ? `\\${character}` : character;
}

function inBothCases(character: string): string {
  const [lower, upper] = [character.toLowerCase(), character.toUpperCase()];
  const isLetter = lower !== upper && [...lower].length === 1 && [...upper].length === 1;
  return isLetter ? `[${lower}${upper}]` : escaped(character);
}

interface OurPattern {
  text: string;
  origins: readonly number[];
  hasAlternatives: boolean;
}

/**
 * Converts the dialect of Python and Rust, in which clients write, into the one of the compiler, which is JavaScript's:
 * `(?P<name>` is `(?<name>`, and `.` stops at `\n` only. The compiler refuses what else it does not know. What would
 * change the text around the expression is refused here.
 *
 * @param dot what `.` stands for
 * @returns `origins`: the place in the source of each UTF-16 unit of the text
 * @throws GrammarRefusal
 */
export function inOurDialect(source: string, dot = "[^\\n]"): OurPattern {
  let text = "";
  const origins: number[] = [];
  const write = (written: string, from: number, moves: 0 | 1 = 1) => {
    text += written;
    for (let i = 0; i < written.length; i++) origins.push(from + i * moves);
  };
  let isInSet = false;
  let depth = 0;
  let hasAlternatives = false;
  for (let at = 0; at < source.length; at++) {
    const unit = source[at]!;
    if (unit === "\\") {
      if (at === source.length - 1) throw new GrammarRefusal("a backslash at the end");
      write(source.slice(at, at + 2), at);
      at++;
      continue;
    }
    if (isInSet) isInSet = unit !== "]";
    else if (unit === "[") isInSet = true;
    else if (unit === "(") depth++;
    else if (unit === ")" && --depth < 0) throw new GrammarRefusal("a ) without its (");
    else if (unit === "|" && depth === 0) hasAlternatives = true;
    else if (unit === ".") {
      write(dot, at, 0);
      continue;
    }
    write(unit, at);
    if (unit === "(" && !isInSet && source.startsWith("?P<", at + 1)) {
      write("?<", at + 2);
      at += 3;
    }
  }
  return { text, origins, hasAlternatives };
}

/** A pattern, and the place of the client's text that a byte of it came from. */
export interface WholeMatch {
  pattern: string;
  originOf: (byte: number) => number;
}

/** The pattern of the texts that a regular expression of a client matches as a whole. @throws GrammarRefusal */
export function wholeMatch(source: string): WholeMatch {
  const { text, origins, hasAlternatives } = inOurDialect(source);
  const made = (before: string, begin: number, end: number, after: string): WholeMatch => {
    const pattern = before + text.slice(begin, end) + after;
    const originOf = (byte: number) => {
      const unit = Buffer.from(pattern).subarray(0, byte).toString().length - before.length + begin;
      return unit < end ? (origins[Math.max(0, unit)] ?? source.length) : source.length;
    };
    return { pattern, originOf };
  };
  if (hasAlternatives) return made("^(?:", 0, text.length, ")$");
  // Anchors at the ends are common and say nothing new. Inside of others the compiler would take the longer way.
  const begin = text.startsWith("^") ? 1 : 0;
  const end = /(?:^|[^\\])\$$/.test(text) ? text.length - 1 : text.length;
  return made("^", begin, end, "$");
}
