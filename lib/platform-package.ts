import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { packageManifest } from "./package-root.js";

/** The packages with prebuilt files, as packages/platforms.mjs lists them for the release. */

/** An installed package of one platform. */
export interface PlatformPackage {
  /** Its name. */
  name: string;
  /** The prebuilt file in it. */
  file: string;
  /** Why it must not be used: it belongs to another version. */
  problem?: string;
}

/**
 * The files beside this package, where most package managers put them. Each URL is written out separately: file tracers
 * (Next.js) copy what it names, and they copy nothing for a name that is resolved.
 */
const addons: Readonly<Record<string, () => URL>> = {
  "linux-x64": () => {
    const file = new URL(/* webpackIgnore: true */ "../../@gpt-oss-node/linux-x64/gpt_oss.node", import.meta.url);
    return file;
  },
  "linux-arm64": () => {
    const file = new URL(/* webpackIgnore: true */ "../../@gpt-oss-node/linux-arm64/gpt_oss.node", import.meta.url);
    return file;
  },
  "darwin-arm64": () => {
    const file = new URL(/* webpackIgnore: true */ "../../@gpt-oss-node/darwin-arm64/gpt_oss.node", import.meta.url);
    return file;
  },
};
const cudaModules: Readonly<Record<string, () => URL>> = {
  "linux-x64": () => {
    const file = new URL(
      /* webpackIgnore: true */ "../../@gpt-oss-node/linux-x64-cuda/libgptoss_cuda.so",
      import.meta.url,
    );
    return file;
  },
};

/** The platforms that have a prebuilt addon. */
export const prebuiltPlatforms: readonly string[] = Object.keys(addons);

/** The name of the package with the addon for a platform such as "linux-x64". */
export function addonPackageName(platform: string): string {
  return `@gpt-oss-node/${platform}`;
}

/** The installed package with the addon for this platform. */
export function addonPackage(platform: string): PlatformPackage | undefined {
  return installed(addonPackageName(platform), addons[platform]?.());
}

/** The installed package with the CUDA module for this platform. */
export function cudaPackage(platform: string): PlatformPackage | undefined {
  return installed(`${addonPackageName(platform)}-cuda`, cudaModules[platform]?.());
}

function installed(name: string, beside: URL | undefined): PlatformPackage | undefined {
  if (!beside) return undefined;
  const file = resolved(`${name}/${path.posix.basename(beside.pathname)}`) ?? fileURLToPath(beside);
  if (!existsSync(file)) return undefined;
  const { version } = packageManifest();
  const found = versionOf(path.dirname(file)) ?? version; // a file tracer copies the file alone
  if (found === version) return { name, file };
  return { name, file, problem: `${name} has version ${found}, and gpt-oss-node has ${version}` };
}

/** Where Node, or Yarn's resolver, finds a file of a package. */
function resolved(name: string): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(name);
  } catch {
    return undefined;
  }
}

function versionOf(folder: string): string | undefined {
  try {
    return (JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as { version?: string }).version;
  } catch {
    return undefined;
  }
}
