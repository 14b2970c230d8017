/** Finds stop strings in a text that arrives in pieces. A possible beginning of a stop string is held back. */
export class StopMatcher {
  readonly #patterns: Pattern[];
  #held = "";

  /** @param strings well-formed, none empty */
  constructor(strings: readonly string[]) {
    this.#patterns = strings.map((text) => ({ text, fallback: fallbacksOf(text), matched: 0 }));
  }

  /**
   * Returns the text that is certain after this piece. With `stop`, this is the text before the stop string, and no
   * further push is allowed. Of several stop strings, the one that ends first counts. Of those with the same end, the
   * longest counts.
   */
  push(piece: string): { text: string; stop: string | null } {
    if (this.#patterns.length === 0) return { text: piece, stop: null };
    const all = this.#held + piece;
    for (let at = this.#held.length; at < all.length; at++) {
      const stop = this.#step(all.charCodeAt(at));
      if (stop !== null) return { text: all.slice(0, at + 1 - stop.length), stop };
    }
    const certain = all.length - Math.max(...this.#patterns.map(({ matched }) => matched));
    this.#held = all.slice(certain);
    return { text: all.slice(0, certain), stop: null };
  }

  /** Ends the text and returns the part that was held back. The next push starts a new text. */
  flush(): string {
    for (const pattern of this.#patterns) pattern.matched = 0;
    const held = this.#held;
    this.#held = "";
    return held;
  }

  #step(unit: number): string | null {
    let longest: string | null = null;
    for (const pattern of this.#patterns) {
      const { text, fallback } = pattern;
      let matched = pattern.matched;
      while (matched > 0 && text.charCodeAt(matched) !== unit) matched = fallback[matched - 1]!;
      if (text.charCodeAt(matched) === unit) matched++;
      pattern.matched = matched;
      if (matched === text.length && text.length > (longest?.length ?? 0)) longest = text;
    }
    return longest;
  }
}

/** Knuth-Morris-Pratt: a long stop string with many near matches costs no more than any other. */
interface Pattern {
  text: string;
  /** [i]: the length of the longest proper prefix of `text` that is also a suffix of text[0..i]. */
  fallback: number[];
  matched: number;
}

function fallbacksOf(text: string): number[] {
  const fallback = [0];
  for (let at = 1, matched = 0; at < text.length; at++) {
    while (matched > 0 && text[matched] !== text[at]) matched = fallback[matched - 1]!;
    if (text[matched] === text[at]) matched++;
    fallback.push(matched);
  }
  return fallback;
}
