import { readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../lib/binding.js";
import { seededRandom } from "../../test/support/random.js";

/**
 * Texts to measure tokenizers on: texts by people, in many scripts, from packages that `npm ci` installs. So they are
 * the same on every machine. TypeScript (its version is pinned) has messages in many languages. Arabic and Hindi, which
 * it lacks, are the names, dates and numbers of ICU in Node.
 */

const textBytes = 256 * 1024; // of each; a shorter source is not repeated, because caches would then look too good

const typescript = (file: string) =>
  readFileSync(path.join(packageRoot, "node_modules/typescript/lib", file), "utf8").replaceAll("\r\n", "\n");

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed);
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

/** Removes incomplete characters at the ends of a cut text. */
export function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

/** The longest beginning of whole characters that fits. */
export function upTo(text: string, bytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}

/** The sentences in a fixed shuffled order, five to a paragraph. */
function prose(sentences: readonly string[], stop: string): string {
  const paragraphs: string[] = [];
  const all = shuffled(sentences, 1).map((sentence) => (/[.。]$/.test(sentence) ? sentence : sentence + stop));
  for (let i = 0; i < all.length; i += 5) paragraphs.push(all.slice(i, i + 5).join(stop === "。" ? "" : " "));
  return upTo(paragraphs.join("\n\n"), textBytes);
}

const messages = (language: string) =>
  JSON.parse(typescript(`${language}/diagnosticMessages.generated.json`)) as Record<string, string>;

/** The keys of the messages are their English texts: "A_JSDoc_typedef_comment_may_not_contain_8033". */
function english(): string {
  const sentences = Object.keys(messages("de")).map((key) => key.replace(/_\d+$/, "").replaceAll("_", " "));
  const license = readFileSync(path.join(packageRoot, "LICENSE"), "utf8");
  return upTo(`${license}\n${prose(sentences, ".")}`, textBytes);
}

function fromIcu(locale: string): string {
  const names = (["language", "region", "script", "currency"] as const).flatMap((type) => {
    const display = new Intl.DisplayNames(locale, { type, fallback: "none" });
    const letters = [..."abcdefghijklmnopqrstuvwxyz"];
    const tails = type === "language" || type === "region" ? [""] : letters;
    const codes = letters.flatMap((a) => letters.flatMap((b) => tails.map((c) => a + b + c)));
    return codes.flatMap((code) => {
      try {
        return display.of(type === "script" ? `${code}${code.at(-1)}` : code) ?? [];
      } catch {
        return [];
      }
    });
  });
  const random = seededRandom(2);
  const list = new Intl.ListFormat(locale);
  const date = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long", timeZone: "UTC" });
  const relative = new Intl.RelativeTimeFormat(locale);
  const number = new Intl.NumberFormat(locale, { style: "unit", unit: "kilometer-per-hour", unitDisplay: "long" });
  const sentences: string[] = [];
  const mixed = shuffled(names, 3);
  for (let i = 0; i < 4 * mixed.length; i++) {
    const some = Array.from({ length: 2 + (i % 5) }, () => mixed[Math.floor(random() * mixed.length)]!);
    const rest = [
      date.format(new Date(random() * 2e12)),
      relative.format(Math.round(random() * 60) - 30, "week"),
      number.format(Math.round(random() * 1000)),
    ];
    sentences.push(`${list.format(some)}: ${rest[i % 3]}`);
  }
  return prose(sentences, ".");
}

const translated = (language: string, stop = ".") => prose(Object.values(messages(language)), stop);

/** Texts by name. "mixed" has a paragraph or two of each other text in turn, and emoji. */
export function texts(): Record<string, string> {
  const parts: Record<string, string> = {
    english: english(),
    german: translated("de"),
    russian: translated("ru"),
    chinese: translated("zh-cn", "。"),
    japanese: translated("ja", "。"),
    arabic: fromIcu("ar"),
    hindi: fromIcu("hi"),
    code: upTo(typescript("typescript.js").slice(1_000_000), textBytes),
  };
  const emoji = "😀 👍🏽 ❤️ 👨‍👩‍👧 🇩🇪 ✅ 🚀🚀 🤷‍♀️\n";
  const mixed: string[] = [];
  const slice = 600; // UTF-16 units
  for (let at = 0; at < textBytes; at += slice) {
    for (const text of Object.values(parts)) mixed.push(text.slice(at, at + slice));
    if (at % (4 * slice) === 0) mixed.push(emoji);
  }
  return { ...parts, mixed: wellFormed(mixed.join("\n")) };
}

/** Single pieces of the split pattern, 100,000 characters each: the worst case of a quadratic merge. */
export function traps(characters: number): Record<string, string> {
  const random = seededRandom(4);
  const repeated = (unit: string) => unit.repeat(characters / [...unit].length);
  const drawn = (first: number, count: number) => {
    const chunk: string[] = [];
    for (let i = 0; i < characters; i++) chunk.push(String.fromCodePoint(first + Math.floor(random() * count)));
    return chunk.join("");
  };
  const oneOf = (alphabet: string) => {
    const all = [...alphabet];
    return drawn(0, all.length).replace(/./gsu, (c) => all[c.codePointAt(0)!]!);
  };
  return {
    "one letter": repeated("a"),
    "random letters": drawn(97, 26),
    "random upper case": drawn(65, 26),
    "two letters": repeated("ab"),
    "letters of words": oneOf("etaoinshrdlu"),
    "accented letters": oneOf("éèêëàâäöüß"),
    cyrillic: drawn(0x430, 32),
    arabic: drawn(0x627, 36),
    devanagari: drawn(0x905, 53),
    thai: drawn(0xe01, 46),
    kana: drawn(0x3041, 83),
    "one ideograph": repeated("漢"),
    ideographs: drawn(0x4e00, 20_000),
    hangul: drawn(0xac00, 11_172),
    cuneiform: drawn(0x12000, 900),
    marks: drawn(0x300, 112),
    "one symbol": repeated("="),
    "random symbols": oneOf('!#$%&()*+,-.:;<=>?@[]^_`{|}~\\"'),
    "one emoji": repeated("😀"),
    emoji: drawn(0x1f300, 800),
    "box drawing": drawn(0x2500, 256),
    slashes: `=${repeated("/").slice(1)}`,
    spaces: repeated(" "),
    tabs: repeated("\t"),
    "any whitespace": oneOf(" \t\u00a0\u2003\u3000\u2028"),
    newlines: repeated("\n"),
    "lines and spaces": `${oneOf(" \t\r\n").slice(1)}\n`,
    "digits (33,334 pieces)": drawn(48, 10),
  };
}
