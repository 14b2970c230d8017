import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.js";
import { circles } from "../support/circles.js";

/** The permitted imports of lib/. docs/architecture.md describes the purpose of each room. */

/** Rooms and files of lib/, the lowest first. Each may import the earlier ones, and itself. */
const order = [
  ...[
    "errors",
    "package-root",
    "version",
    "platform-package",
    "addon-not-found",
    "common",
    "native",
    "binding",
    "environment",
    "kernels",
  ],
  ...[
    "tokenizer",
    "harmony",
    "generation",
    "chat",
    "demo-model",
    "models",
    "pull",
    "inspect",
    "plan",
    "engine",
    "index",
  ],
  ...["testing", "server", "bench", "cli"],
];

const lib = path.join(packageRoot, "lib");
const files = readdirSync(lib, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.split(path.sep).join("/"));

/** Files of lib/ that a file imports, types too. */
function importsOf(file: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node) => {
    const named = ts.isImportDeclaration(node) || ts.isExportDeclaration(node) ? node.moduleSpecifier : undefined;
    const called =
      ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword ? node.arguments[0] : undefined;
    const name = named ?? called;
    if (name !== undefined && ts.isStringLiteral(name) && name.text.startsWith(".")) {
      found.push(path.posix.join(path.posix.dirname(file), name.text).replace(/\.js$/, ".ts"));
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(path.join(lib, file), "utf8"), ts.ScriptTarget.Latest));
  return found;
}

const imports = new Map(files.map((file) => [file, importsOf(file)]));

/** Imports that the order does not allow. */
function upwards(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const place = (file: string) => order.indexOf(file.split("/")[0]!.replace(/\.ts$/, ""));
  return [...graph].flatMap(([file, names]) =>
    names.filter((name) => place(name) < 0 || place(name) > place(file)).map((name) => `${file} -> ${name}`),
  );
}

describe("imports in lib/", () => {
  it("refer to existing files", () => {
    const known = new Set(files);
    const gone = [...imports].flatMap(([file, names]) =>
      names.filter((name) => !known.has(name)).map((name) => [file, name]),
    );
    expect(files.length).toBeGreaterThan(100);
    expect(gone).toEqual([]);
  });

  it("have no cycle", () => {
    expect(circles(imports)).toEqual([]);
  });

  it("go from higher rooms to lower ones", () => {
    expect(upwards(imports)).toEqual([]);
  });

  it("are found when they break the order", () => {
    expect(
      circles(
        new Map([
          ["a", ["b"]],
          ["b", ["c"]],
          ["c", ["b"]],
        ]),
      ),
    ).toEqual(["b -> c -> b"]);
    expect(upwards(new Map([["harmony/render.ts", ["engine.ts", "common/steps.ts", "elsewhere/a.ts"]]]))).toEqual([
      "harmony/render.ts -> engine.ts",
      "harmony/render.ts -> elsewhere/a.ts",
    ]);
  });
});
