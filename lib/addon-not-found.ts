import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { GptOssError, refusalOf } from "./errors.js";
import { packageManifest } from "./package-root.js";
import { addonPackageName, prebuiltPlatforms } from "./platform-package.js";

/** The facts about a failed attempt to load the addon. */
export interface Failure {
  /** The folder of the package. */
  root: string;
  /** Where it runs, such as "linux-x64". */
  platform: string;
  /** All files that were tried. */
  tried: string[];
  /** The file that exists but does not load, and the reason. */
  broken?: { file: string; reason: string; cause: unknown };
  /** The platform's package belongs to another version. */
  mismatch?: string;
  /** The version of glibc; null: there is another libc, such as musl. Absent: of this process. */
  glibc?: string | null;
}

/**
 * Describes the failure and the remedy for the way the package was installed: a checkout, npm, pnpm or Yarn. When the
 * system has no memory or no more files for the addon, the addon is not missing: OUT_OF_MEMORY, RESOURCE_LIMIT.
 */
export function addonNotFound(failure: Failure): GptOssError {
  const { root, broken } = failure;
  const refusal = broken && addonRefusal(broken);
  if (refusal) {
    const what =
      refusal === "OUT_OF_MEMORY" ? "memory (ulimit -v, or a cgroup's limit)" : "more open files (ulimit -n)";
    const message = `The native addon ${broken.file} was not loaded: ${broken.reason}. The system refuses this process ${what}: raise the limit, or free some.`;
    return new GptOssError(refusal, message, { cause: broken.cause });
  }
  const advice = adviceFor(failure);
  const missing = missingTools();
  const tools = missing.length > 0 ? `; not on PATH: ${missing.join(", ")}` : "";
  const build = `${buildAdvice(root)}. That needs Linux, CMake >= 3.20 and g++ >= 12${tools}.`;
  return new GptOssError(
    "ADDON_NOT_FOUND",
    `${whatIsWrong(failure)} ${advice ? `${advice} Or build` : "Build"} it from source: ${build}`,
    broken ? { cause: broken.cause } : {},
  );
}

function whatIsWrong({ platform, tried, broken, mismatch }: Failure): string {
  const name = addonPackageName(platform);
  if (mismatch) return `No native addon was loaded: ${mismatch}.`;
  if (broken) {
    return `The native addon ${broken.file} does not load here (${platform}, Node ${process.version}): ${broken.reason}.`;
  }
  const what = prebuiltPlatforms.includes(platform)
    ? `the optional package ${name} is not installed`
    : `prebuilt ones are for ${prebuiltPlatforms.join(", ")} only`;
  return `No native addon for ${platform} was found: ${what}. Tried ${tried.join(", ")}.`;
}

/** What to do instead of a build. Undefined: there is nothing. */
function adviceFor({ root, platform, broken, mismatch, glibc = glibcVersion() }: Failure): string | undefined {
  if (isCheckout(root)) return undefined;
  if (platform.startsWith("linux-") && glibc === null) {
    return "musl (Alpine Linux) is not supported: use an image with glibc, such as node:22-slim.";
  }
  if (broken) return adviceForBroken(broken.reason, glibc);
  if (mismatch) return `Install both in one version: ${installAdvice(root)}.`;
  if (!prebuiltPlatforms.includes(platform)) return undefined;
  return (
    "A package manager leaves it out with --omit=optional or --no-optional, or with a lock file or a node_modules " +
    `folder of another platform. Install it: ${installAdvice(root, platform)}.`
  );
}

function adviceForBroken(reason: string, glibc: string | null): string {
  const [, library] = /version [`'"](GLIBC|GLIBCXX|CXXABI)_[\d.]+['"] not found/.exec(reason) ?? [];
  if (library === "GLIBC") {
    return `It needs a newer glibc than that of this system, ${glibc}: use a newer system or image.`;
  }
  if (library) return "It needs a newer libstdc++: use a newer system or image.";
  return "A library may be missing, or it was built for another platform or libc: install gpt-oss-node again on this one.";
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

/** The version of glibc, or null where there is none. */
function glibcVersion(): string | null {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ?? null;
}

const isCheckout = (root: string) => existsSync(path.join(root, "tsconfig.build.json"));

/** The command that builds the addon of the package in `root`. */
export function buildAdvice(root: string): string {
  if (isCheckout(root)) return `npm run build in ${root}`;
  if (root.split(path.sep).some((part) => part.endsWith(".zip"))) {
    return "yarn unplug gpt-oss-node, then node native/build.mjs there";
  }
  const readOnly = isWritable(root) ? "" : " by a user who may write there";
  return `node ${path.join(root, "native", "build.mjs")}${readOnly}`;
}

/** The command that installs the package of `platform`, or gpt-oss-node with its packages. */
export function installAdvice(root: string, platform?: string): string {
  const parts = root.split(path.sep);
  const { version } = packageManifest();
  const names = platform ? `${addonPackageName(platform)}@${version}` : `gpt-oss-node@${version}`;
  if (parts.includes(".yarn")) return `yarn add ${names}`;
  if (!parts.includes("node_modules")) return `npm install ${names}`;
  const project = parts.slice(0, parts.indexOf("node_modules")).join(path.sep) || path.sep;
  if (parts.includes(".pnpm")) return `pnpm add ${names} in ${project}`;
  if (existsSync(path.join(project, "yarn.lock"))) return `yarn add ${names} in ${project}`;
  if (!existsSync(path.join(project, "package.json"))) return `npm install --global ${names}`;
  return `npm install ${names} in ${project}`;
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Returns the build tools that are missing. */
function missingTools(): string[] {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const has = (program: string) => folders.some((folder) => existsSync(path.join(folder, program)));
  const needed = [["cmake"], ["g++", "clang++"], ["ninja", "make"]];
  return needed.filter((either) => !either.some(has)).map((either) => either.join(" or "));
}
