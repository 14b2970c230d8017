import { own } from "../../common/given-values.js";
import { larkPattern } from "../grammars/lark.js";
import { GrammarRefusal, type WholeMatch, wholeMatch } from "../grammars/pattern.js";
import { grammarRefusal } from "../grammars/refusal.js";
import type { DeclaredFunction } from "../turn/turn.js";
import { isObject } from "./fields.js";
import { invalid, optionalString, requiredString, unsupported } from "./refusals.js";

/**
 * Custom tools take a text instead of JSON. The model knows functions only, so it sees a function of one string, and
 * `CustomInput` reads the text from its calls.
 */

type Fields = Readonly<Record<string, unknown>>;

/**
 * Characters of all grammars of a request. They are read at once, and while a text of this length is read, other
 * requests wait for some milliseconds.
 */
const mostCharacters = 2 ** 17;

/** A grammar of the tool's input. */
interface Grammar {
  syntax: "lark" | "regex";
  definition: string;
  /** The whole input matches it. */
  pattern: string;
  /** The place in the definition of a byte of the pattern. Null: it is not known. */
  originOf: WholeMatch["originOf"] | null;
  /** The place of the definition in the request. */
  at: string;
}

/** Reads the custom tools of one request. */
export class CustomTools {
  #characters = 0;

  /**
   * Returns the function that stands for a custom tool.
   *
   * @param name the checked name
   * @throws ApiError that names the field, also for a grammar that cannot be enforced
   */
  read({ description, format }: Fields, name: string, at: string): DeclaredFunction {
    const grammar = this.#format(format, `${at}.format`);
    const input = {
      type: "string",
      description: "The input of the tool: plain text, as the tool takes it.",
      ...(grammar !== null && { pattern: grammar.pattern }),
    };
    return {
      name,
      description: described(optionalString(description, `${at}.description`), grammar),
      parameters: own({ type: "object", properties: { input }, required: ["input"], additionalProperties: false }),
      strict: true, // a client that gives a grammar relies on it
      at: grammar?.at ?? at,
      client: { type: "custom", name, namespace: null },
      ...(grammar !== null && {
        worded: (message: string) => grammarRefusal(grammar.at, message, grammar.originOf),
      }),
    };
  }

  /** Chat completions have the grammar in a member `grammar`, responses beside the type. Clients mix them. */
  #format(format: unknown, at: string): Grammar | null {
    if (format === undefined || format === null) return null;
    if (!isObject(format)) throw invalid(at, "an object", format);
    const type = requiredString(format.type, `${at}.type`);
    if (type === "text") return null;
    if (type !== "grammar") throw invalid(`${at}.type`, "text or grammar", type);
    const isNested = isObject(format.grammar);
    return this.#grammar(isNested ? (format.grammar as Fields) : format, isNested ? `${at}.grammar` : at);
  }

  #grammar({ syntax, definition: given }: Fields, place: string): Grammar {
    if (syntax !== "lark" && syntax !== "regex") throw invalid(`${place}.syntax`, "lark or regex", syntax);
    const at = `${place}.definition`;
    const definition = requiredString(given, at);
    this.#characters += definition.length;
    if (this.#characters > mostCharacters) {
      throw invalid(at, `at most ${mostCharacters} characters in all grammars`, definition);
    }
    return { syntax, definition, ...patternOf(syntax, definition, at), at };
  }
}

/** The model is held to the grammar, but it must also know what it may write. */
function described(description: string | null, grammar: Grammar | null): string | null {
  if (grammar === null) return description;
  const what = grammar.syntax === "lark" ? "this Lark grammar" : "this regular expression";
  return [description, `The input follows ${what}:`, grammar.definition].filter((text) => text).join("\n");
}

function patternOf(syntax: Grammar["syntax"], definition: string, at: string): Pick<Grammar, "pattern" | "originOf"> {
  try {
    return syntax === "lark" ? { pattern: larkPattern(definition), originOf: null } : wholeMatch(definition);
  } catch (error) {
    if (!(error instanceof GrammarRefusal)) throw error;
    throw unsupported(at, `The grammar in '${at}' cannot be enforced: ${error.message} is not supported.`);
  }
}
