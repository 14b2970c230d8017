import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import type { Plugin } from "vitest/config";

/**
 * What a test imports from `lib/` comes from `dist/`: the files that are shipped. Node loads them itself, which takes a
 * fraction of the time that Vite needs for the sources in the process of each test file.
 */

const root = path.resolve(import.meta.dirname, "../..");
const sources = path.join(root, "lib");
const built = path.join(root, "dist");

/** For `server.deps.external`: Vite leaves these files to Node. */
export const builtFiles = new RegExp(`^(file://)?${built}/`);

export function builtLibrary(): Plugin {
  return {
    name: "built-library",
    enforce: "pre",
    resolveId(source, importer) {
      if (importer === undefined || !source.startsWith(".")) return null;
      const file = path.resolve(path.dirname(importer), source);
      return file.startsWith(`${sources}/`) ? path.join(built, path.relative(sources, file)) : null;
    },
  };
}

/** Vitest calls this before the tests. It compiles the library again when a source is newer. */
export default function buildLibrary(): void {
  if (isBuilt()) return;
  const compiler = path.join(root, "node_modules/typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) throw new Error("lib/ does not compile");
}

/** Whether each source has its file in `dist/`, and none is newer. */
function isBuilt(): boolean {
  const names = readdirSync(sources, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  return names.every((name) => {
    const file = path.join(built, name.replace(/\.ts$/, ".js"));
    return existsSync(file) && statSync(file).mtimeMs >= statSync(path.join(sources, name)).mtimeMs;
  });
}
