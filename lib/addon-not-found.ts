import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { GptOssError, refusalOf } from "./errors.js";

/** The facts about a failed attempt to load the addon. */
export interface Failure {
  /** The folder of the package. */
  root: string;
  /** All files that were tried. */
  tried: string[];
  /** The file that exists but does not load, and the reason. */
  broken?: { file: string; reason: string; cause: unknown };
}

/**
 * Describes the failure and the remedy for the way the package was installed: a checkout, npm, pnpm or Yarn. When the
 * system has no memory or no more files for the addon, the addon is not missing: OUT_OF_MEMORY, RESOURCE_LIMIT.
 */
export function addonNotFound({ root, tried, broken }: Failure): GptOssError {
  const refusal = broken && addonRefusal(broken);
  if (refusal) {
    const what =
      refusal === "OUT_OF_MEMORY" ? "memory (ulimit -v, or a cgroup's limit)" : "more open files (ulimit -n)";
    const message = `The native addon ${broken.file} was not loaded: ${broken.reason}. The system refuses this process ${what}: raise the limit, or free some.`;
    return new GptOssError(refusal, message, { cause: broken.cause });
  }
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

function addonRefusal({ file, reason, cause }: NonNullable<Failure["broken"]>) {
  // glibc's loader gives only this message. The other possible reason is a file system that forbids execution.
  if (/failed to map segment/.test(reason) && !/not permitted/.test(reason) && !isNoExec(file)) return "OUT_OF_MEMORY";
  return refusalOf(cause) ?? refusalOf(reason);
}

/** Whether the file is on a file system that is mounted with `noexec`. */
function isNoExec(file: string): boolean {
  try {
    const mounts = readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => line.split(" "))
      .filter(([, place]) => place && (file === place || file.startsWith(place === "/" ? place : `${place}/`)))
      .sort(([, a], [, b]) => a!.length - b!.length);
    return mounts.at(-1)?.[3]?.split(",").includes("noexec") ?? false;
  } catch {
    return false;
  }
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

/** Returns the build tools that are missing. */
function missingTools(): string[] {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const has = (program: string) => folders.some((folder) => existsSync(path.join(folder, program)));
  const needed = [["cmake"], ["g++", "clang++"], ["ninja", "make"]];
  return needed.filter((either) => !either.some(has)).map((either) => either.join(" or "));
}
