import { existsSync } from "node:fs";
import path from "node:path";
import { GptOssError } from "./errors.js";

/** What is known where no addon could be loaded. */
export interface Failure {
  /** Folder of the package. */
  root: string;
  /** Every file that was looked for. */
  tried: string[];
  /** The one that is there and does not load, and why. */
  broken?: { file: string; reason: string; cause: unknown };
}

/** What went wrong, and what helps where the package lies: in a checkout, or as npm, pnpm or Yarn install it. */
export function addonNotFound({ root, tried, broken }: Failure): GptOssError {
  const platform = `${process.platform}-${process.arch}`;
  const what = broken
    ? `The native addon ${broken.file} does not load here (${platform}, Node ${process.version}): ${broken.reason}. A library ` +
      "may be missing, or it was built for another platform or libc."
    : `No native addon for ${platform} was found: its install script has not run (--ignore-scripts, or a package manager ` +
      `that asks for permission), or it failed. Tried ${tried.join(", ")}.`;
  const missing = missingTools();
  const tools = missing.length > 0 ? `; not on PATH: ${missing.join(", ")}` : "";
  return new GptOssError(
    "ADDON_NOT_FOUND",
    `${what} Build it: ${rebuildAdvice(root)}. That needs Linux, CMake >= 3.20 and g++ >= 12${tools}.`,
    broken ? { cause: broken.cause } : {},
  );
}

/** The command that builds the addon of the package in `root`. */
export function rebuildAdvice(root: string): string {
  const name = "gpt-oss-node";
  const parts = root.split(path.sep);
  const project = parts.slice(0, parts.indexOf("node_modules")).join(path.sep) || path.sep;
  if (existsSync(path.join(root, "tsconfig.build.json"))) return `npm run build in ${root}`;
  if (parts.some((part) => part.endsWith(".zip"))) {
    return `yarn unplug ${name}, set "dependenciesMeta": { "${name}": { "built": true } } in package.json, yarn rebuild ${name}`;
  }
  if (parts.includes(".yarn")) return `yarn rebuild ${name}`;
  if (!parts.includes("node_modules")) return `node native/build.mjs in ${root}`;
  if (parts.includes(".pnpm")) return `pnpm approve-builds, then pnpm rebuild ${name}, in ${project}`;
  if (!existsSync(path.join(project, "package.json"))) return `npm rebuild --global ${name} --ignore-scripts=false`;
  return `npm rebuild ${name} --ignore-scripts=false in ${project}`;
}

/** Of the programs that a build takes. */
function missingTools(): string[] {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const has = (program: string) => folders.some((folder) => existsSync(path.join(folder, program)));
  const needed = [["cmake"], ["g++", "clang++"], ["ninja", "make"]];
  return needed.filter((either) => !either.some(has)).map((either) => either.join(" or "));
}
