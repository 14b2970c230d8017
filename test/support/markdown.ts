import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../lib/package-root.js";

/** The pages for users, and the parts of a page that tests check. */

export interface Block {
  /** Page and line, for the name of a test. */
  place: string;
  language: string;
  code: string;
}

export interface Page {
  /** Path from the root of the repository, such as `docs/fr/serveur.md`. */
  name: string;
  text: string;
  blocks: readonly Block[];
  /** Paragraphs and list items without code blocks, tables, headings and comments. Line breaks become spaces. */
  paragraphs: readonly string[];
  /** Texts between backticks, outside of code blocks. */
  spans: readonly string[];
  /** Targets of links. */
  links: readonly string[];
  /** Anchors of the headings, as links write them. */
  anchors: readonly string[];
}

/** A code block, which can be indented in a list. */
const fence = /^( *)```(\w*)\n(.*?)^\1```$/gms;

export const pages: readonly Page[] = ["README.md", ...markdownFiles("docs")].map(pageAt);

/** All pages whose prose and links are checked: also those for contributors, whose commands need a checkout or a GPU. */
export const checkedPages: readonly Page[] = [
  ...pages,
  ...["bench/README.md", "test/emu/README.md", "test/oracle/README.md"].map(pageAt),
];

function pageAt(name: string): Page {
  return pageOf(name, readFileSync(path.join(packageRoot, name), "utf8"));
}

function markdownFiles(folder: string): string[] {
  return readdirSync(path.join(packageRoot, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => `${folder}/${file.split(path.sep).join("/")}`)
    .sort();
}

export function pageOf(name: string, text: string): Page {
  const lineOf = (at: number) => text.slice(0, at).split("\n").length;
  const blocks = [...text.matchAll(fence)].map(({ index, 1: indent, 2: language, 3: code }) => ({
    place: `${name}:${lineOf(index)}`,
    language: language!,
    code: code!.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }));
  const outside = text.replace(fence, "\n").replace(/<!--.*?-->/gs, "");
  const spans = [...outside.matchAll(/(`+)(.+?)\1/gs)].map(([, , span]) => span!.replaceAll("\n", " ").trim());
  const links = [...outside.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!);
  const anchors = [...outside.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchorOf(heading!));
  return { name, text, blocks, paragraphs: paragraphsOf(outside), spans, links, anchors };
}

/** The anchor that GitHub makes from a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}

function paragraphsOf(outside: string): string[] {
  const isProse = (line: string) => !/^\s*(\||#)/.test(line);
  return outside
    .split("\n")
    .map((line) => (isProse(line) ? line.replace(/^\s*([-*]|\d+\.)\s+/, "\n\n") : ""))
    .join("\n")
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.trim().replace(/\s*\n\s*/g, " "))
    .filter((paragraph) => paragraph !== "");
}

/** The sentences of a paragraph; code between backticks counts as one word. */
export function sentencesOf(paragraph: string): string[] {
  return paragraph
    .replace(/(`+)(.+?)\1/g, "`code`")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .split(/(?<=[.!?][)"”»*]*)\s+(?=[("“«*`]*[\p{Lu}\p{N}`])/u)
    .filter((sentence) => /[\p{L}\p{N}]/u.test(sentence));
}

export function wordsOf(sentence: string): number {
  return sentence.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
}
