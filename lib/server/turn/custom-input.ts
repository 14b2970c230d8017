import { toUSVString } from "node:util";

/** How the arguments of a custom tool's call begin. */
const beginning = /^\s*\{\s*"input"\s*:\s*"/;
/** Arguments that have not begun so after this many characters will not. */
const longestBeginning = 64;

/** A whole escape: a surrogate pair, one unit, or one character. */
const wholeEscape = /\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([^u]))/y;
/** An escape whose end is not written yet. */
const openEscape =
  /\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?)?$/y;
const shortEscapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/**
 * Reads the input of a custom tool from the arguments of its call while they are written. Arguments are
 * `{"input": "…"}`, because a constraint holds the model to it. No other text is an error: the text itself is the input
 * then, known when the call ends.
 */
export class CustomInput {
  /** The input so far. */
  text = "";
  #phase: "before" | "inside" | "behind" | "other" = "before";
  /** Arguments that were not read yet: the beginning, all of other arguments, or an unfinished escape. */
  #unread: string[] = [];

  /** Returns what the piece adds to the input. */
  push(piece: string): string {
    if (this.#phase === "behind") return "";
    this.#unread.push(piece);
    if (this.#phase === "other") return "";
    const unread = this.#unread.join("");
    if (this.#phase === "inside") return this.#read(unread);
    const begun = beginning.exec(unread);
    if (begun !== null) {
      this.#phase = "inside";
      return this.#read(unread.slice(begun[0].length));
    }
    if (unread.length > longestBeginning) this.#phase = "other";
    return "";
  }

  /** Ends the call. Returns what that adds to the input. */
  end(complete: boolean): string {
    const isInput = this.#phase === "other" || (this.#phase === "before" && complete);
    const written = this.#unread.join("");
    this.#unread = [];
    this.#phase = "behind";
    return isInput ? this.#add(inputOf(written)) : "";
  }

  /** Reads JSON text within the quotes. */
  #read(json: string): string {
    this.#unread = [];
    let text = "";
    for (let at = 0; at < json.length; ) {
      const end = nextSpecial(json, at);
      text += json.slice(at, end);
      at = end;
      if (json[at] === '"') {
        this.#phase = "behind";
        break;
      }
      if (at === json.length) break;
      openEscape.lastIndex = at;
      if (openEscape.test(json)) {
        this.#unread = [json.slice(at)];
        break;
      }
      wholeEscape.lastIndex = at;
      const match = wholeEscape.exec(json);
      text += match === null ? "\\" : unescaped(match);
      at += match === null ? 1 : match[0].length;
    }
    return this.#add(text);
  }

  #add(text: string): string {
    this.text += text;
    return text;
  }
}

function nextSpecial(json: string, from: number): number {
  for (let at = from; at < json.length; at++) if (json[at] === '"' || json[at] === "\\") return at;
  return json.length;
}

function unescaped([whole, high, low, unit, character]: RegExpExecArray): string {
  const codes = [high, low, unit].flatMap((hex) => (hex === undefined ? [] : [Number.parseInt(hex, 16)]));
  // Half of a pair has no UTF-8 form.
  if (codes.length > 0) return toUSVString(String.fromCharCode(...codes));
  if (character === '"' || character === "\\" || character === "/") return character;
  return shortEscapes[character!] ?? whole;
}

/** The input in arguments that did not begin as usual. */
function inputOf(written: string): string {
  if (written.trim() === "{}") return ""; // a call without any arguments is told so
  try {
    const { input } = JSON.parse(written) as { input?: unknown };
    if (typeof input === "string") return toUSVString(input);
  } catch {
    // It is not JSON, so it is the input itself.
  }
  return written;
}
