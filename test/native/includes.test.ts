import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.js";
import { circles } from "../support/circles.js";

/** The permitted includes in native/ and kernels/. docs/architecture.md describes the rooms. */

/**
 * Rooms, the lowest first. Each may include itself and the rooms before it. A file directly in native/ is in "native".
 */
const order = [
  ...["kernels/common", "kernels/cpu", "kernels/cuda/ptx", "kernels/cuda", "kernels/metal"],
  ...["native/base", "native/tokenizer", "native/grammar", "native/loader"],
  ...["native/backend", "native/backend/cpu", "native/backend/cuda", "native/backend/metal"],
  ...[
    "native/model",
    "native/adapters",
    "native/checkpoint",
    "native/lab",
    "native/engine",
    "native/testing",
    "native/binding",
    "native",
  ],
];

const files = ["native", "kernels"].flatMap((root) =>
  readdirSync(path.join(packageRoot, root), { recursive: true, encoding: "utf8" })
    .filter((file) => /\.(h|cpp|inl|cu|cuh|metal|mm)$/.test(file))
    .map((file) => path.posix.join(root, file.split(path.sep).join("/"))),
);

/** The files that a file includes by their path from the repository's root: all except the system's. */
function includesOf(file: string): string[] {
  const text = readFileSync(path.join(packageRoot, file), "utf8");
  return [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map((match) => match[1]!);
}

const includes = new Map(files.map((file) => [file, includesOf(file)]));

/** Includes that break the order. */
function upwards(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const place = (file: string) => order.indexOf(path.posix.dirname(file));
  return [...graph].flatMap(([file, names]) =>
    names.filter((name) => place(name) < 0 || place(name) > place(file)).map((name) => `${file} -> ${name}`),
  );
}

describe("includes in native/ and kernels/", () => {
  it("are of existing files, in rooms of the list", () => {
    const known = new Set(files);
    const gone = [...includes].flatMap(([file, names]) =>
      names.filter((name) => !known.has(name)).map((name) => [file, name]),
    );
    expect(files.length).toBeGreaterThan(200);
    expect(gone).toEqual([]);
    expect(files.filter((file) => !order.includes(path.posix.dirname(file)))).toEqual([]);
  });

  it("have no circle", () => {
    expect(circles(includes)).toEqual([]);
  });

  it("go from the higher room to the lower", () => {
    expect(upwards(includes)).toEqual([]);
  });

  it("are found if they are wrong", () => {
    expect(
      upwards(
        new Map([
          ["kernels/cpu/a.cpp", ["native/base/error.h", "kernels/common/args.h"]],
          ["native/model/a.h", ["native/checkpoint/open.h", "native/backend/backend.h", "elsewhere/a.h"]],
          ["native/backend/a.cpp", ["native/backend/cpu/a.h"]],
        ]),
      ),
    ).toEqual([
      "kernels/cpu/a.cpp -> native/base/error.h",
      "native/model/a.h -> native/checkpoint/open.h",
      "native/model/a.h -> elsewhere/a.h",
      "native/backend/a.cpp -> native/backend/cpu/a.h",
    ]);
  });
});
