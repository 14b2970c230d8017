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
function refuse(message) {
  console.error(message);
  process.exitCode = 1;
}
if (files.length === 0) refuse("There is nothing to check in prebuilds/: npm run package:prebuilds");
for (const file of files) {
  const name = path.relative(root, file);
  try {
    const found = examine(file);
    const versions = Object.entries(found.newest).map(([family, version]) => `${family}_${version}`);
    console.log(`${name}: ${found.needed.join(", ")}; ${versions.join(", ")}`);
    for (const problem of problems(found, floor)) refuse(`${name}: ${problem}`);
  } catch (error) {
    refuse(error.message);
  }
}
