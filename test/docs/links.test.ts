import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.js";
import { checkedPages, type Page, pages } from "../support/markdown.js";

const byName = new Map(checkedPages.map((page) => [page.name, page]));

/** Returns the reason why a link of this page is broken, or null. */
function broken(page: Page, target: string): string | null {
  if (/^https?:/.test(target)) return null;
  const [file = "", anchor] = target.split("#");
  const name = file === "" ? page.name : path.posix.join(path.posix.dirname(page.name), file);
  if (!existsSync(path.join(packageRoot, name))) return `${target}: no such file`;
  if (anchor === undefined || byName.get(name)?.anchors.includes(anchor)) return null;
  return `${target}: no such heading`;
}

/** Files of the repository that a page names by their whole path. Patterns (`NAME`, `*`, `{h,cpp}`) are left out. */
const folders = readdirSync(packageRoot, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !/^(\.|node_modules|build|dist|prebuilds)/.test(entry.name))
  .map(({ name }) => name);
const namedFile = new RegExp(`^(${folders.join("|")})/[\\w./-]+\\.[a-z]+$`);

describe.each(checkedPages.map((page) => [page.name, page] as const))("%s", (_, page) => {
  it("links to what is there", () => {
    expect(page.links.flatMap((target) => broken(page, target) ?? [])).toEqual([]);
  });

  it("names files that are there", () => {
    const named = page.spans.filter((span) => namedFile.test(span) && !/NAME|DATE/.test(span));
    expect(named.filter((file) => !existsSync(path.join(packageRoot, file)))).toEqual([]);
  });
});

describe("docs/README.md", () => {
  it("is the index of all pages", () => {
    const listed = byName.get("docs/README.md")!.links.map((target) => path.posix.join("docs", target));
    const others = pages.map(({ name }) => name).filter((name) => /^docs\/(?!README\.md)/.test(name));
    expect(others.filter((name) => !listed.includes(name))).toEqual([]);
  });
});
