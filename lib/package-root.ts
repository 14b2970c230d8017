import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GptOssError, refusalOf } from "./errors.js";

// A bundler that writes CommonJS leaves no import.meta.url.
const here: string | undefined = import.meta.url;

/** Folder that `package.json` lies in; lib/ and dist/ are both one level below it. Meaningless in a bundle. */
export const packageRoot = here ? path.resolve(path.dirname(fileURLToPath(here)), "..") : process.cwd();

let manifest: { name: string; version: string } | undefined;

/**
 * The package.json of this package.
 *
 * @throws GptOssError ADDON_NOT_FOUND when this code has been bundled into another file: the files that it needs stayed where
 *   they were.
 */
export function packageManifest(): { name: string; version: string } {
  manifest ??= readManifest(manifestUrl());
  return manifest;
}

/** Where it lies while this runs: webpack puts the name of the source in place of any other import.meta.url. */
function manifestUrl(): URL | undefined {
  try {
    const url = new URL(/* webpackIgnore: true */ "../package.json", import.meta.url);
    return url;
  } catch {
    return undefined;
  }
}

export function readManifest(url: URL | undefined): { name: string; version: string } {
  try {
    const found = JSON.parse(readFileSync(url!, "utf8")) as { name: string; version: string };
    if (found.name === "gpt-oss-node") return found;
  } catch (cause) {
    const refusal = refusalOf(cause);
    if (refusal) throw new GptOssError(refusal, `package.json was not read: ${(cause as Error).message}`, { cause });
    // no such file, or another one: said below
  }
  throw new GptOssError(
    "ADDON_NOT_FOUND",
    "gpt-oss-node has been bundled into another file, and its native addon and model files are not " +
      'beside the bundle. Mark it external: `--external:gpt-oss-node` (esbuild), `external: ["gpt-oss-node"]` (Rollup, Vite\'s ' +
      'ssr), `externals: { "gpt-oss-node": "import gpt-oss-node" }` (webpack), `serverExternalPackages: ["gpt-oss-node"]` ' +
      "(Next.js). Then install it in node_modules where the bundle runs.",
  );
}
