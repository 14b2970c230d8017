// Publishes what `lay-out.mjs --all --pack` packed: the packages of the platforms first, so that gpt-oss-node is never there
// without them. What npm has already is left out, so that a release that broke off can be repeated.
//
//   node packages/publish.mjs [--from FOLDER] [--dry-run]      default: build/packages
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { platforms } from "./platforms.mjs";

const { values: options } = parseArgs({
  options: {
    from: { type: "string", default: path.join(import.meta.dirname, "../build/packages") },
    "dry-run": { type: "boolean", default: false },
  },
});
const folders = [...platforms.map(({ name }) => name), "gpt-oss-node"].map((name) => path.join(options.from, name));
const manifests = folders.map((folder) => path.join(folder, "package.json"));
const absent = manifests.filter((file) => !existsSync(file));
if (absent.length > 0) {
  console.error(`publish: there is no ${absent.join(", ")}: npm run package:platforms -- --all --pack`);
  process.exit(1);
}
for (const file of manifests) {
  const { name, version } = JSON.parse(readFileSync(file, "utf8"));
  const known = spawnSync("npm", ["view", `${name}@${version}`, "version"], { encoding: "utf8" });
  if (known.status === 0 && known.stdout.trim() === version) {
    console.log(`${name}@${version} is there already`);
    continue;
  }
  const archive = path.join(options.from, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`);
  const flags = ["--provenance", "--access", "public", ...(options["dry-run"] ? ["--dry-run"] : [])];
  const { status } = spawnSync("npm", ["publish", archive, ...flags], { stdio: "inherit" });
  if (status !== 0) process.exit(1);
}
