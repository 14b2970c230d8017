import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../lib/binding.js";

const { whyStale } = (await import(pathToFileURL(path.join(packageRoot, "native/stale-build.mjs")).href)) as {
  whyStale(folder: string, source: string, generator: string): string | undefined;
};
const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss build-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("what CMake left from an earlier build", () => {
  const original = path.join(folder, "original");
  const tool = path.join(folder, "c++");
  mkdirSync(path.join(original, "out"), { recursive: true });
  writeFileSync(tool, "");
  const cache = `# comment\nCMAKE_CXX_COMPILER:FILEPATH=${tool}\nCMAKE_DLLTOOL:FILEPATH=CMAKE_DLLTOOL-NOTFOUND
CMAKE_CACHEFILE_DIR:INTERNAL=${original}/out\nCMAKE_GENERATOR:INTERNAL=Ninja\nCMAKE_HOME_DIRECTORY:INTERNAL=${original}\n`;
  writeFileSync(path.join(original, "out/CMakeCache.txt"), cache);
  const why = (root: string, generator = "Ninja") => whyStale(path.join(root, "out"), root, generator);

  it("serves where it was made, by whatever name the folder is called", () => {
    expect(why(original)).toBeUndefined();
    symlinkSync(original, path.join(folder, "link"));
    expect(why(path.join(folder, "link"))).toBeUndefined();
    expect(why(path.join(folder, "nothing yet"))).toBeUndefined();
  });

  it("does not serve a copy, a moved folder, another generator, or without its compiler", () => {
    const copy = path.join(folder, "copy");
    cpSync(original, copy, { recursive: true });
    expect(why(copy)).toContain(`made for ${original}/out`);
    expect(why(original, "Unix Makefiles")).toBe("it was made for Ninja");
    renameSync(tool, `${tool}.away`);
    expect(why(original)).toBe(`${tool} is gone`);
    renameSync(`${tool}.away`, tool);
    const moved = path.join(folder, "moved");
    renameSync(original, moved);
    expect(why(moved)).toContain("made for");
    writeFileSync(path.join(copy, "out/CMakeCache.txt"), ""); // truncated
    expect(why(copy)).toContain("another folder");
  });
});

describe("native/build.mjs", () => {
  const copy = path.join(folder, "a copied checkout");
  const out = path.join(".cmake", `${process.platform}-${process.arch}`);
  mkdirSync(path.join(copy, out), { recursive: true });
  for (const part of ["native", "kernels", "CMakeLists.txt", "package.json", path.join(out, "CMakeCache.txt")]) {
    cpSync(path.join(packageRoot, part), path.join(copy, part), { recursive: true });
  }
  symlinkSync(path.join(packageRoot, "node_modules"), path.join(copy, "node_modules"));
  // Every generator has a target "help": CMake configures, and compiles nothing.
  const build = () =>
    spawnSync(process.execPath, ["native/build.mjs", "--target", "help"], { cwd: copy, encoding: "utf8" });

  it("starts anew in a copied checkout, and keeps what it makes there", { timeout: 180_000 }, () => {
    writeFileSync(path.join(copy, "tsconfig.build.json"), "{}");
    const first = build();
    expect(first.stdout).toContain("the build starts anew: it was made for");
    expect(first.status).toBe(0);
    expect(readFileSync(path.join(copy, out, "CMakeCache.txt"), "utf8")).toContain(
      `CMAKE_HOME_DIRECTORY:INTERNAL=${copy}\n`,
    );
    expect(existsSync(path.join(copy, "build/compile_commands.json"))).toBe(true);
    const second = build();
    expect(second.stdout).not.toContain("anew");
    expect(second.status).toBe(0);
  });

  it("leaves nothing of CMake in an installed package", { timeout: 180_000 }, () => {
    rmSync(path.join(copy, "tsconfig.build.json"));
    rmSync(path.join(copy, "build"), { recursive: true });
    expect(build().status).toBe(0);
    expect(existsSync(path.join(copy, ".cmake"))).toBe(false);
    expect(existsSync(path.join(copy, "build"))).toBe(false);
  });

  it("names all that it lacks at once", () => {
    const env = { ...process.env, PATH: folder };
    const { status, stderr } = spawnSync(process.execPath, ["native/build.mjs"], { cwd: copy, env, encoding: "utf8" });
    expect(status).toBe(1);
    expect(stderr).toContain("CMake >= 3.20, and a C++20 compiler, g++ >= 12, and ninja or make, not found on PATH");
    expect(stderr).toContain("apt-get install cmake g++ ninja-build");
  });
});
