/** How many columns of a terminal a text takes: 0 for marks that stand on the character before, 2 for wide ones. */

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const onlyNarrow = /^[\x20-\x7e]*$/;

/** What a person sees as one character each, such as a letter with its accents or a family of emoji. */
export function characters(text: string): string[] {
  return onlyNarrow.test(text) ? [...text] : Array.from(segmenter.segment(text), ({ segment }) => segment);
}

export function textWidth(text: string): number {
  if (onlyNarrow.test(text)) return text.length;
  return characters(text).reduce((sum, character) => sum + characterWidth(character), 0);
}

const invisible = /^[\p{Mark}\p{Cf}\p{Cc}\u115f\u1160\u3164\uffa0]*$/u;
const vowelBeside = /.[\u0e33\u0eb3]/u; // Thai and Lao "am" belongs to its consonant and stands beside it
const emoji = /^\p{Emoji_Presentation}|\ufe0f|^\p{Regional_Indicator}{2}/u;

/** Of one element of `characters`. Like terminals do, it takes a combined character for as wide as its base. */
export function characterWidth(character: string): number {
  if (onlyNarrow.test(character)) return character.length;
  if (invisible.test(character)) return 0;
  const base = isWide(character.codePointAt(0)!) || emoji.test(character) ? 2 : 1;
  return base + (vowelBeside.test(character) ? 1 : 0);
}

/** First and last code points that Unicode's East Asian Width calls wide or fullwidth; emoji are found by property. */
const wide: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f], // Hangul, the beginnings of syllables
  [0x2329, 0x232a],
  [0x2e80, 0x303e], // radicals, ideographic punctuation
  [0x3041, 0x33ff], // kana, bopomofo, Hangul letters, enclosed and square characters
  [0x3400, 0x4dbf],
  [0x4e00, 0xa4cf], // ideographs, Yi
  [0xa960, 0xa97c],
  [0xac00, 0xd7a3], // Hangul syllables
  [0xf900, 0xfaff],
  [0xfe10, 0xfe19],
  [0xfe30, 0xfe6b],
  [0xff01, 0xff60], // fullwidth forms
  [0xffe0, 0xffe6],
  [0x16fe0, 0x18cff], // Tangut, Khitan
  [0x1aff0, 0x1b2fb], // more kana, Nushu
  [0x1f200, 0x1f265],
  [0x20000, 0x3fffd],
];

/** Ideographs and kana, between which a line may break. */
export function isWide(codePoint: number): boolean {
  return wide.some(([first, last]) => first <= codePoint && codePoint <= last);
}
