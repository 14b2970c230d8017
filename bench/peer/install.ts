import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** Fetches node-llama-cpp into this folder, once. `npm install` of the engine does not fetch it. */

const folder = import.meta.dirname;

/** Its binaries for the processor; the binaries for GPUs, some hundred MB, are not fetched. */
const binaries: Record<string, string> = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "darwin-x64": "mac-x64",
  "darwin-arm64": "mac-arm64-metal",
  "win32-x64": "win-x64",
  "win32-arm64": "win-arm64",
};

export function installPeer(): void {
  const read = (file: string) => JSON.parse(readFileSync(path.join(folder, file), "utf8"));
  const version: string = read("package.json").dependencies["node-llama-cpp"];
  const installed = "node_modules/node-llama-cpp/package.json";
  if (existsSync(path.join(folder, installed)) && read(installed).version === version) return;
  const platform = `${process.platform}-${process.arch}`;
  if (!binaries[platform]) throw new Error(`node-llama-cpp has no prebuilt binary for ${platform}`);
  process.stderr.write(`Fetching node-llama-cpp ${version} into bench/peer/node_modules\n`);
  const packages = [`node-llama-cpp@${version}`, `@node-llama-cpp/${binaries[platform]}@${version}`];
  const flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];
  execFileSync("npm", ["install", ...flags, ...packages], {
    cwd: folder,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32", // npm is a .cmd there
  });
}
