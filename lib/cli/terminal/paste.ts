/** Pasted text, which may have many lines, as a part of the one line that is being edited. */

const pasteBegins = "\u001b[200~";
const pasteEnds = "\u001b[201~";

/** What was typed and what was pasted, in order. */
export type InputPiece = { kind: "keys" | "paste"; text: string };

/** Finds pastes in what a terminal sends, which comes in any pieces. */
export class PasteReader {
  #isPasting = false;
  #held = "";
  #pasted: string[] = [];

  push(piece: string): InputPiece[] {
    // A paste of Ctrl-C alone is unlikely: the end of a paste was lost, and the person tries to leave.
    if (this.#isPasting && piece === "\u0003") {
      this.#isPasting = false;
      this.#held = "";
      this.#pasted = [];
    }
    const pieces: InputPiece[] = [];
    let text = this.#held + piece;
    this.#held = "";
    while (text !== "") {
      const marker = this.#isPasting ? pasteEnds : pasteBegins;
      const at = text.indexOf(marker);
      const begun = at < 0 ? beginningAtEnd(text, marker) : 0;
      this.#add(text.slice(0, at < 0 ? text.length - begun : at), pieces);
      if (at < 0) {
        this.#held = text.slice(text.length - begun);
        break;
      }
      if (this.#isPasting) pieces.push({ kind: "paste", text: this.#pasted.splice(0).join("") });
      this.#isPasting = !this.#isPasting;
      text = text.slice(at + marker.length);
    }
    return pieces;
  }

  /** Whether a key may be the beginning of a marker; when nothing follows soon, it is a key, see `release`. */
  get holdsKeys(): boolean {
    return !this.#isPasting && this.#held !== "";
  }

  release(): InputPiece[] {
    const text = this.#held;
    this.#held = "";
    return text === "" ? [] : [{ kind: "keys", text }];
  }

  #add(text: string, pieces: InputPiece[]): void {
    if (text === "") return;
    if (this.#isPasting) this.#pasted.push(text);
    else pieces.push({ kind: "keys", text });
  }
}

/** How many characters at the end of a text may be the beginning of the marker. */
function beginningAtEnd(text: string, marker: string): number {
  for (let length = Math.min(marker.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(marker.slice(0, length))) return length;
  }
  return 0;
}

/*
 * Control characters would act on the editor, so they are shown by their pictures (U+2400 on) while the line is edited,
 * and are themselves again in the message. A picture that was pasted is meanwhile a code point that no text may hold
 * (U+FDD0 on), and so are the line separators of Unicode, at which the editor would break the line.
 */
const picture = 0x2400;
const stand = 0xfdd0;
const separators: readonly [string, string][] = [
  ["\u2028", "\u{1fffe}"],
  ["\u2029", "\u{1ffff}"],
];

/** A pasted text as a part of one line. */
export function toLine(pasted: string): string {
  // Terminals send what ends a line as the key that does.
  return pasted.replace(/\r\n?/g, "\n").replace(/[\u2400-\u241f\u2028\u2029\p{Cc}]/gu, (character) => {
    const separator = separators.find(([text]) => text === character)?.[1];
    const code = character.charCodeAt(0);
    if (separator !== undefined) return separator;
    if (code >= picture) return shifted(code, stand - picture);
    return code < 0x20 ? shifted(code, picture) : "\ufffd";
  });
}

/** The text that a line stands for. */
export function fromLine(line: string): string {
  return line.replace(/[\u2400-\u241f\ufdd0-\ufdef\u{1fffe}\u{1ffff}]/gu, (character) => {
    const separator = separators.find(([, shown]) => shown === character)?.[0];
    const code = character.charCodeAt(0);
    return separator ?? shifted(code, code < stand ? -picture : picture - stand);
  });
}

function shifted(code: number, by: number): string {
  return String.fromCharCode(code + by);
}
