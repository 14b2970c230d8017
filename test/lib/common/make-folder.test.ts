import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeFolder } from "../../../lib/common/make-folder.js";
import { packageRoot } from "../../../lib/package-root.js";
import { failure } from "../../support/failure.js";

let home: string;
beforeAll(() => {
  home = mkdtempSync(path.join(tmpdir(), "gpt-oss-make-folder-"));
});
afterAll(() => rmSync(home, { recursive: true }));

describe("makeFolder", () => {
  it("makes the parent folders too, and says what it made", async () => {
    const folders = [path.join(home, "a"), path.join(home, "a", "b"), path.join(home, "a", "b", "c")];
    expect(await makeFolder(folders[2]!, 0o700)).toEqual(folders);
    for (const folder of folders) expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(await makeFolder(folders[2]!)).toEqual([]);
    expect(await makeFolder(path.join(folders[1]!, "d"))).toEqual([path.join(folders[1]!, "d")]);
  });

  it("is called several times at once", async () => {
    const folder = path.join(home, "x", "y", "z");
    const made = await Promise.all(Array.from({ length: 8 }, () => makeFolder(folder)));
    expect(made.flat().sort()).toEqual([path.join(home, "x"), path.join(home, "x", "y"), folder]);
  });

  it("refuses a place below a file", async () => {
    writeFileSync(path.join(home, "file"), "");
    expect(await failure(makeFolder(path.join(home, "file", "a")))).toMatchObject({ code: "EEXIST" });
    expect(await failure(makeFolder(path.join(home, "file")))).toMatchObject({ code: "EEXIST" });
  });

  it.runIf(existsSync("/proc/self"))("returns where nothing can be made", async () => {
    expect(await failure(makeFolder("/proc/none/a/b"))).toMatchObject({ code: "ENOENT", path: "/proc/none" });
  });
});

it("lib/ has no call of mkdir that could loop", () => {
  const lib = path.join(packageRoot, "lib");
  const files = readdirSync(lib, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  const calls = /\bmkdir(Sync)?\([^;]*recursive/;
  expect(calls.test("await mkdir(folder, { recursive: true });")).toBe(true);
  const code = (name: string) => readFileSync(path.join(lib, name), "utf8").replaceAll(/^ *(\/\*\*|\*|\/\/).*$/gm, "");
  expect(files.filter((name) => calls.test(code(name)))).toEqual([]);
});
