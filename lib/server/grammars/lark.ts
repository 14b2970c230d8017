import { type LarkPart, parseLark } from "./lark-parser.js";
import { refusedAt } from "./lark-tokens.js";
import {
  anchored,
  counted,
  either,
  GrammarRefusal,
  mostCharacters,
  type Pattern,
  sequence,
  tooLong,
} from "./pattern.js";

/**
 * Returns the pattern of the texts that the rule `start` of a Lark grammar describes. The grammar must describe a
 * regular language in the plain way: no rule may need itself. Priorities and names of nodes have no meaning here.
 * `%ignore`, templates, and terminals of other grammars than `common` are not supported.
 *
 * @throws GrammarRefusal
 */
export function larkPattern(definition: string): string {
  return anchored(new Reader(parseLark(definition)).definition("start", 1));
}

/** Levels of definitions and of their parts within each other: bounds the recursion. */
const maxDepth = 1024;

/** Characters of all patterns on the way to the last one. */
const mostWork = 2 ** 20;

/** Puts the definitions into each other. */
class Reader {
  readonly #definitions: ReadonlyMap<string, LarkPart>;
  readonly #known = new Map<string, Pattern>();
  readonly #open = new Set<string>();
  #depth = 0;
  #work = 0;

  constructor(definitions: ReadonlyMap<string, LarkPart>) {
    this.#definitions = definitions;
  }

  definition(name: string, line: number): Pattern {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const part = this.#definitions.get(name);
    if (part === undefined) throw refusedAt(line, `${name}, which is not defined,`);
    if (this.#open.has(name)) throw refusedAt(line, `the recursion of ${name}`);
    this.#open.add(name);
    const pattern = this.#pattern(part);
    this.#open.delete(name);
    this.#known.set(name, pattern);
    return pattern;
  }

  #pattern(part: LarkPart): Pattern {
    if (++this.#depth > maxDepth) throw new GrammarRefusal(`more than ${maxDepth} levels of rules and groups`);
    const pattern = this.#patternOf(part);
    this.#depth--;
    const { length } = pattern.text;
    this.#work += length;
    if (length > mostCharacters || this.#work > mostWork) throw tooLong();
    return pattern;
  }

  #patternOf(part: LarkPart): Pattern {
    switch (part.kind) {
      case "pattern":
        return part.pattern;
      case "name":
        return this.definition(part.name, part.line);
      case "sequence":
        return sequence(part.parts.map((inner) => this.#pattern(inner)));
      case "either":
        return either(part.parts.map((inner) => this.#pattern(inner)));
      case "counted":
        return counted(this.#pattern(part.part), part.count);
    }
  }
}
