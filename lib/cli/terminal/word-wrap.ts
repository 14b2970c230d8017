import { characters, characterWidth, isWide, textWidth } from "./text-width.js";

const tabStop = 8;

/**
 * Breaks a text that comes in pieces into lines that fit, at words. A word is held back until it is whole, as only then
 * it is known on which line it stands; one that is longer than a line is broken where the line ends. The blanks at
 * which a line is broken are left out.
 */
export class WordWrap {
  /** Of the cursor, behind all that was given out. */
  #column = 0;
  /** Blanks that come before the word, if it stands on the same line. */
  #blanks = "";
  #word = "";
  #wordWidth = 0;
  /** Its last character. */
  #last = "";
  /** The end of the text, which the next piece may still change. */
  #open = "";

  /** @param columns of the terminal, asked before each line; 0: any. */
  constructor(private readonly columns: () => number) {}

  /** What can be shown with this piece. */
  push(piece: string): string {
    const all = characters(this.#open + piece);
    // A mark that belongs to the last character may come with the next piece.
    this.#open = all.at(-1) === "\n" ? "" : (all.pop() ?? "");
    return this.#take(all);
  }

  /** What was held back; the text goes on in the same line. */
  flush(): string {
    const open = this.#open;
    this.#open = "";
    return this.#take(open === "" ? [] : [open]) + this.#placeWord() + this.#placeBlanks();
  }

  /** The cursor was taken to the beginning of a line. */
  restart(): void {
    this.#column = 0;
  }

  #take(all: readonly string[]): string {
    let out = "";
    for (const character of all) {
      if (character === "\n") {
        out += `${this.#placeWord()}${this.#placeBlanks()}\n`;
        this.#column = 0;
      } else if (character === " " || character === "\t") {
        out += this.#placeWord();
        this.#blanks += character;
      } else {
        if (this.#word !== "" && mayBreak(this.#last, character)) out += this.#placeWord();
        this.#word += character;
        this.#wordWidth += characterWidth(character);
        this.#last = character;
        if (this.#wordWidth >= this.#width()) out += this.#placeWord();
      }
    }
    return out;
  }

  #width(): number {
    return this.columns() || Number.POSITIVE_INFINITY;
  }

  #placeWord(): string {
    const [word, blanks, columns] = [this.#word, this.#blanks, this.#width()];
    if (word === "") return "";
    this.#word = "";
    this.#wordWidth = 0;
    this.#blanks = "";
    const start = this.#column + widthAt(blanks, this.#column);
    const isFitting = start + textWidth(word) <= columns;
    // With nothing before it but its indentation, a new line would not help.
    if (isFitting || (this.#column === 0 && start < columns)) return blanks + this.#broken(word, start, columns);
    return (this.#column === 0 ? "" : "\n") + this.#broken(word, 0, columns);
  }

  /** Those at the end of a line; beyond the edge they would make a line of their own. */
  #placeBlanks(): string {
    const blanks = this.#blanks;
    this.#blanks = "";
    const end = this.#column + widthAt(blanks, this.#column);
    if (end > this.#width()) return "";
    this.#column = end;
    return blanks;
  }

  #broken(word: string, start: number, columns: number): string {
    let out = "";
    this.#column = start;
    for (const character of characters(word)) {
      const width = characterWidth(character);
      if (this.#column > 0 && this.#column + width > columns) {
        out += "\n";
        this.#column = 0;
      }
      out += character;
      this.#column += width;
    }
    return out;
  }
}

function widthAt(text: string, column: number): number {
  let end = column;
  for (const character of characters(text)) {
    end += character === "\t" ? tabStop - (end % tabStop) : characterWidth(character);
  }
  return end - column;
}

const noLineBegin = /^[\p{Pe}\p{Pf}\p{Po}々ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ〜～]/u;
const noLineEnd = /[\p{Ps}\p{Pi}]$/u;

/** Scripts without blanks may break between any two characters but at punctuation. */
function mayBreak(last: string, next: string): boolean {
  const isBetween = isWide(last.codePointAt(0)!) || isWide(next.codePointAt(0)!);
  return isBetween && !noLineBegin.test(next) && !noLineEnd.test(last);
}
