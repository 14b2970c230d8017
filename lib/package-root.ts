import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GptOssError, refusalOf } from "./errors.js";

// A bundler that writes CommonJS removes import.meta.url.
const here: string | undefined = import.meta.url;

/** The folder of `package.json`. lib/ and dist/ are both one level below it. Meaningless in a bundle. */
export const packageRoot = here ? path.resolve(path.dirname(fileURLToPath(here)), "..") : process.cwd();

let manifest: { name: string; version: string } | undefined;

/**
 * Returns the package.json of this package.
 *
 * @throws GptOssError ADDON_NOT_FOUND when this code is bundled into another file: its other files were not moved with
 *   it.
 */
export function packageManifest(): { name: string; version: string } {
  manifest ??= readManifest(manifestUrl());
  return manifest;
}

/** The URL at run time. webpack replaces any other use of import.meta.url by the name of the source file. */
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
    // no such file, or the manifest of another package: reported below
  }
  throw new GptOssError(
    "ADDON_NOT_FOUND",
    "gpt-oss-node has been bundled into another file, and its native addon and model files are not " +
      'beside the bundle. Mark it external: `--external:gpt-oss-node` (esbuild), `external: ["gpt-oss-node"]` (Rollup, Vite\'s ' +
      'ssr), `externals: { "gpt-oss-node": "import gpt-oss-node" }` (webpack), `serverExternalPackages: ["gpt-oss-node"]` ' +
      "(Next.js). Then install it in node_modules where the bundle runs.",
  );
}
