import { describe, expect, it } from "vitest";
import { checkedPages, pageOf, pages, sentencesOf, wordsOf } from "../support/markdown.js";

/** The rules of docs/style.md for sentences. Tables, headings and code do not count as sentences. */
const mostWords = 25;
const mostOnAverage = 15;

describe("the prose of the docs", () => {
  it.each(checkedPages.map((page) => [page.name, page] as const))("has short sentences: %s", (_, { paragraphs }) => {
    const sentences = paragraphs.flatMap(sentencesOf);
    expect(sentences.filter((sentence) => wordsOf(sentence) > mostWords)).toEqual([]);
    const words = sentences.reduce((sum, sentence) => sum + wordsOf(sentence), 0);
    expect(words / Math.max(1, sentences.length)).toBeLessThanOrEqual(mostOnAverage);
  });

  it("of the README takes two minutes to read", () => {
    const { text } = pages.find(({ name }) => name === "README.md")!;
    expect(wordsOf(text.replace(/^```.*?^```$/gms, ""))).toBeLessThanOrEqual(600);
  });

  it("of docs/style.md has 900 words at most", () => {
    expect(wordsOf(pages.find(({ name }) => name === "docs/style.md")!.text)).toBeLessThanOrEqual(900);
  });
});

describe("the reader of pages", () => {
  it("finds sentences, and leaves out what is none", () => {
    const { paragraphs, blocks, spans, links, anchors } = pageOf(
      "page.md",
      "# A title, `code`\n\nOne `two. Three` four.\nFive [six](seven.md#eight)! *Nine* is 9.5.\n\n| a | b |\n\n- ten\n- eleven\n\n" +
        "```js\ncode();\n```\n<!-- not seen -->\n- twelve\n\n  ```sh\n  a \\\n    b\n  ```\n",
    );
    expect(paragraphs).toEqual([
      "One `two. Three` four. Five [six](seven.md#eight)! *Nine* is 9.5.",
      "ten",
      "eleven",
      "twelve",
    ]);
    expect(paragraphs.flatMap(sentencesOf)).toEqual([
      "One `code` four.",
      "Five six!",
      "*Nine* is 9.5.",
      "ten",
      "eleven",
      "twelve",
    ]);
    expect(wordsOf("One `code` – four.")).toBe(3);
    expect(blocks).toEqual([
      { place: "page.md:11", language: "js", code: "code();\n" },
      { place: "page.md:17", language: "sh", code: "a \\\n  b\n" },
    ]);
    expect([spans, links, anchors]).toEqual([["code", "two. Three"], ["seven.md#eight"], ["a-title-code"]]);
  });
});
