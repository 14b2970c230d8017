// Checks the files of prebuilds/ for Linux, or the named ones: each loads where Node's own binary runs.
//
//   node packages/check.mjs [FILE ...]
//
// Prints what each file needs. Exits with 1 when a file asks for more than `floor` in packages/platforms.mjs. That is so
// on most machines of developers: the release is built on an old system.
import { existsSync } from "node:fs";
import path from "node:path";
import { examine, problems } from "./elf.mjs";
import { floor, platforms } from "./platforms.mjs";

const root = path.resolve(import.meta.dirname, "..");
const ofPrebuilds = platforms
  .filter(({ os }) => os === "linux")
  .map(({ prebuilt, file }) => path.join(root, "prebuilds", prebuilt, file))
  .filter(existsSync);
const files = process.argv.length > 2 ? process.argv.slice(2) : ofPrebuilds;
if (files.length === 0) {
  console.error("There is nothing to check in prebuilds/: npm run package:prebuilds");
  process.exitCode = 1;
}
for (const file of files) {
  const found = examine(file);
  const versions = Object.entries(found.newest).map(([family, version]) => `${family}_${version}`);
  console.log(`${path.relative(root, file)}: ${found.needed.join(", ")}; ${versions.join(", ")}`);
  for (const problem of problems(found, floor)) {
    console.error(`${path.relative(root, file)}: ${problem}`);
    process.exitCode = 1;
  }
}
