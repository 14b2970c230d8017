import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copyPackage } from "../../../lib/pull/package-copy.js";
import { failure } from "../../support/failure.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-copy-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Writes a package whose program prints its version and that of everything it needs, as Node resolves it. */
function write(at: string, name: string, version: string, dependencies: string[] = [], more: object = {}): void {
  const to = path.join(folder, at);
  mkdirSync(path.join(to, "dist"), { recursive: true });
  const needs = Object.fromEntries(dependencies.map((one) => [one, "*"]));
  writeFileSync(
    path.join(to, "package.json"),
    JSON.stringify({ name, version, main: "dist/index.js", dependencies: needs, ...more }),
  );
  const parts = dependencies.map((one) => `require(${JSON.stringify(one)})`).join(", ");
  writeFileSync(
    path.join(to, "dist/index.js"),
    `module.exports = "${name}@${version}(" + [${parts}].join(" ") + ")";\n`,
  );
}

const said = (root: string) =>
  execFileSync(process.execPath, ["-p", `require(${JSON.stringify(root)})`], { encoding: "utf8" }).trim();

describe("a copy of an installed package", () => {
  it("finds the same versions of everything, also where versions differ", async () => {
    write("app", "app", "1.0.0", ["a", "b", "@s/c"], { files: ["dist"] });
    write("app/node_modules/a", "a", "1.0.0", ["x", "d"]);
    write("app/node_modules/a/node_modules/x", "x", "2.0.0", ["d"]);
    write("app/node_modules/a/node_modules/d", "d", "2.0.0", ["x"]);
    write("app/node_modules/x", "x", "1.0.0");
    write("app/node_modules/d", "d", "1.0.0", ["x"]);
    write("app/node_modules/b", "b", "1.0.0", ["x", "d"]);
    write("app/node_modules/@s/c", "@s/c", "3.0.0", ["b"]);
    writeFileSync(path.join(folder, "app/node_modules/a/node_modules/x/dist/index.js"), 'module.exports = "x@2.0.0";');
    const own = await copyPackage(path.join(folder, "app"), path.join(folder, "copy"));
    expect(own).toBe(path.join(folder, "copy", "node_modules", "app"));
    const expected = said(path.join(folder, "app"));
    expect(expected).toBe(
      "app@1.0.0(a@1.0.0(x@2.0.0 d@2.0.0(x@2.0.0)) b@1.0.0(x@1.0.0() d@1.0.0(x@1.0.0())) @s/c@3.0.0(b@1.0.0(x@1.0.0() d@1.0.0(x@1.0.0()))))",
    );
    rmSync(path.join(folder, "app"), { recursive: true });
    expect(said(own)).toBe(expected);
  });

  it("follows the links of pnpm", async () => {
    write("store/app/node_modules/app", "app", "1.0.0", ["a"], { files: ["dist"] });
    write("store/a/node_modules/a", "a", "1.0.0", ["x"]);
    write("store/x/node_modules/x", "x", "1.0.0");
    symlinkSync("../../a/node_modules/a", path.join(folder, "store/app/node_modules/a"));
    symlinkSync("../../x/node_modules/x", path.join(folder, "store/a/node_modules/x"));
    const own = await copyPackage(path.join(folder, "store/app/node_modules/app"), path.join(folder, "copy"));
    rmSync(path.join(folder, "store"), { recursive: true });
    expect(said(own)).toBe("app@1.0.0(a@1.0.0(x@1.0.0()))");
  });

  it("has of a checkout what npm ships, and the addon", async () => {
    write("app", "app", "1.0.0", [], { files: ["dist", "absent"], optionalDependencies: { other: "*" } });
    for (const file of [
      "test/big.bin",
      "build/Release/gpt_oss.node",
      "build/Release/obj/a.o",
      "build/Release/libgptoss_cuda.so",
    ]) {
      mkdirSync(path.dirname(path.join(folder, "app", file)), { recursive: true });
      writeFileSync(path.join(folder, "app", file), "");
    }
    const own = await copyPackage(path.join(folder, "app"), path.join(folder, "copy"));
    const there = (file: string) => existsSync(path.join(own, file));
    const files = ["dist/index.js", "build/Release/gpt_oss.node", "build/Release/libgptoss_cuda.so"];
    expect(files.map(there)).toEqual([true, true, true]);
    expect(["test", "build/Release/obj", "absent"].map(there)).toEqual([false, false, false]);
  });

  it("says what is not installed", async () => {
    write("app", "app", "1.0.0", ["gone"], { files: ["dist"] });
    const error = await failure(copyPackage(path.join(folder, "app"), path.join(folder, "copy")));
    expect(error).toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining('needs "gone", which is not installed'),
    });
  });
});
