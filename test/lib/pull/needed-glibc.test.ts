import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { neededGlibc } from "../../../lib/pull/needed-glibc.js";

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-glibc-"));
afterAll(() => rmSync(folder, { recursive: true }));

function native(text: string): string {
  const file = path.join(folder, `${text.length}.node`);
  writeFileSync(file, `\x7fELF\0${text}`);
  return file;
}

it("the needed glibc is the newest version that a file names, and at least Node's", async () => {
  const old = native("GLIBC_2.2.5\0GLIBC_2.17\0");
  const recent = native("GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.33\0GLIBC_PRIVATE\0GLIBCXX_3.4.30\0");
  expect(await neededGlibc([])).toBe("2.28");
  expect(await neededGlibc([old])).toBe("2.28");
  expect(await neededGlibc([recent, old])).toBe("2.34");
});
