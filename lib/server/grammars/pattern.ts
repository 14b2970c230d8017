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

/**
 * Converts the dialect of Python and Rust, in which clients write, into the one of the compiler, which is JavaScript's:
 * `(?P<name>` is `(?<name>`, and `.` stops at `\n` only. The compiler refuses what else it does not know. What would
 * change the text around the expression is refused here.
 *
 * @param dot what `.` stands for
 * @throws GrammarRefusal
 */
export function inOurDialect(source: string, dot = "[^\\n]"): { text: string; hasAlternatives: boolean } {
  let text = "";
  let isInSet = false;
  let depth = 0;
  let hasAlternatives = false;
  for (let at = 0; at < source.length; at++) {
    const unit = source[at]!;
    if (unit === "\\") {
      if (at === source.length - 1) throw new GrammarRefusal("a backslash at the end");
      text += source.slice(at, at + 2);
      at++;
      continue;
    }
    if (isInSet) isInSet = unit !== "]";
    else if (unit === "[") isInSet = true;
    else if (unit === "(") depth++;
    else if (unit === ")" && --depth < 0) throw new GrammarRefusal("a ) without its (");
    else if (unit === "|" && depth === 0) hasAlternatives = true;
    else if (unit === ".") {
      text += dot;
      continue;
    }
    text += unit;
    if (unit === "(" && !isInSet && source.startsWith("?P<", at + 1)) {
      text += "?<";
      at += 3;
    }
  }
  return { text, hasAlternatives };
}

/** The pattern of the texts that a regular expression of a client matches as a whole. */
export function wholeMatch(source: string): string {
  const { text, hasAlternatives } = inOurDialect(source);
  if (hasAlternatives) return `^(?:${text})$`;
  // Anchors at the ends are common and say nothing new. Inside of others the compiler would take the longer way.
  const begin = text.startsWith("^") ? 1 : 0;
  const end = /(?:^|[^\\])\$$/.test(text) ? text.length - 1 : text.length;
  return `^${text.slice(begin, end)}$`;
}
