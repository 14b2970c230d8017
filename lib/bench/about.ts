import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { packageRoot } from "../binding.js";
import { packageVersion } from "../version.js";
import type { BenchAbout } from "./rows.js";

/** What every row says about its machine and its versions. */
export function about(): BenchAbout {
  const cores = cpus();
  return {
    time: new Date().toISOString(),
    version: packageVersion(),
    commit: commit(),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu: cores[0]?.model.trim() ?? "unknown",
    cores: cores.length,
    memoryBytes: totalmem(),
  };
}

/** The commit of this package's own checkout, with a "+" if tracked files differ from it; null where there is none. */
function commit(): string | null {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: packageRoot, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    if (git("rev-parse", "--show-prefix") !== "") return null; // the checkout of a project that uses the package
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "--short", "HEAD") + (changed ? "+" : "");
  } catch {
    return null;
  }
}
