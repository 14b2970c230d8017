// Lays out the packages of a release in build/packages, from dist/ and what prebuildify or a build left:
//
//   node packages/lay-out.mjs [--from FOLDER] [--all] [--pack] [--to FOLDER]
//
// Default: the files of prebuilds/<platform>. With --from, those of this machine's platform that are in FOLDER, e.g.
// build/Release, come before them. --all fails when a platform has no files. --pack makes the tarballs, too. Prints the sizes; exits with 1
// when a file exceeds its budget.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { mainBudget, mainManifest, nameOf, platformManifest, platforms } from "./platforms.mjs";

const root = path.resolve(import.meta.dirname, "..");
const { values: options } = parseArgs({
  options: {
    from: { type: "string" },
    to: { type: "string", default: path.join(root, "build/packages") },
    all: { type: "boolean", default: false },
    pack: { type: "boolean", default: false },
  },
});
const to = path.resolve(options.to);
const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));

function fail(message) {
  console.error(`lay-out: ${message}`);
  process.exit(1);
}

function npm(args, cwd) {
  const { status, stdout, stderr } = spawnSync("npm", args, { cwd, encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) fail(`npm ${args[0]} failed in ${cwd}: ${stderr}`);
  return stdout;
}

function writeManifest(folder, content) {
  writeFileSync(path.join(folder, "package.json"), `${JSON.stringify(content, null, 2)}\n`);
}

/** Where the file of a platform is; undefined: it was not built. */
function builtFile({ prebuilt, file }) {
  const isHere = prebuilt === `${process.platform}-${process.arch}`;
  const places = [path.join(root, "prebuilds", prebuilt, file)];
  if (options.from && isHere) places.unshift(path.resolve(options.from, file));
  return places.find(existsSync);
}

/**
 * Copies the headers that a build from source needs, with their licences. As dependencies they would be installed for
 * everybody, and Yarn would add node-gyp.
 */
function copyNodeHeaders(folder) {
  for (const [name, headers] of [
    ["node-addon-api", "."],
    ["node-api-headers", "include"],
  ]) {
    const from = path.join(root, "node_modules", name);
    for (const file of readdirSync(path.join(from, headers)).filter((entry) => entry.endsWith(".h"))) {
      cpSync(path.join(from, headers, file), path.join(folder, file));
    }
    const licence = readdirSync(from).find((entry) => /^licen[cs]e/i.test(entry));
    cpSync(path.join(from, licence), path.join(folder, `LICENSE.${name}`));
  }
}

function keepWithin(budget, bytes, what) {
  if (bytes > budget) fail(`${what} has ${bytes} bytes, and its budget is ${budget}`);
}

const laidOut = [];
function layOut(name, fill) {
  const folder = path.join(to, name);
  mkdirSync(folder, { recursive: true });
  fill(folder);
  const [{ filename, size, unpackedSize }] = JSON.parse(
    npm(["pack", "--json", options.pack ? "--silent" : "--dry-run"], folder),
  );
  if (options.pack) cpSync(path.join(folder, filename), path.join(to, filename));
  rmSync(path.join(folder, filename), { force: true });
  laidOut.push({ name, filename, size, unpackedSize });
}

if (!existsSync(path.join(root, "dist/index.js"))) fail("there is no dist/: npm run build");
const ours = new Set(["gpt-oss-node", ...platforms.map(({ name }) => name)]);
const others = existsSync(to)
  ? readdirSync(to).filter((entry) => !ours.has(entry) && !/^gpt-oss-node-.*\.tgz$/.test(entry))
  : [];
if (others.length > 0) fail(`${to} has other files, such as ${others[0]}: name a folder for packages alone`);

const absent = platforms.filter((platform) => !builtFile(platform)).map(({ name }) => name);
if (options.all && absent.length > 0) fail(`no files for ${absent.join(", ")} in prebuilds/`);
rmSync(to, { recursive: true, force: true });
for (const platform of platforms) {
  const built = builtFile(platform);
  if (!built) continue;
  keepWithin(platform.budget, statSync(built).size, `${built} of ${platform.name}`);
  layOut(platform.name, (folder) => {
    cpSync(built, path.join(folder, platform.file));
    for (const file of ["LICENSE", "THIRD_PARTY.md"]) cpSync(path.join(root, file), path.join(folder, file));
    writeFileSync(
      path.join(folder, "README.md"),
      `# ${nameOf(platform)}\n\nThis is ${platform.about}.\nnpm installs it with gpt-oss-node. Install [gpt-oss-node](${manifest.homepage}).\n`,
    );
    writeManifest(folder, platformManifest(manifest, platform));
  });
}

layOut("gpt-oss-node", (folder) => {
  const [{ files }] = JSON.parse(npm(["pack", "--dry-run", "--json", "--ignore-scripts"], root));
  for (const { path: file } of files) cpSync(path.join(root, file), path.join(folder, file));
  copyNodeHeaders(path.join(folder, "native/node-api"));
  writeManifest(folder, mainManifest(manifest));
});

keepWithin(mainBudget, laidOut.at(-1).unpackedSize, "gpt-oss-node");

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
for (const { name, size, unpackedSize } of laidOut) {
  console.log(
    `${name.padEnd(16)} ${megabytes(size).padStart(8)} packed ${megabytes(unpackedSize).padStart(8)} unpacked`,
  );
}
for (const name of absent) console.log(`${name.padEnd(16)} NOT LAID OUT: its files are not in prebuilds/`);
