// npm run bundle: one archive with all that gpu:check needs on a machine without network and Node. It has node, the
// packages that build the addon and run its tests, the compiled TypeScript, what was built here, and a start script.
//
//   npm run bundle                   writes .gpu/bundle.tar.xz and .gpu/start.sh
//   npm run bundle -- --built        with the addon, the module and the programs, which are built first
//   npm run bundle -- --variants     with them and the modules of all knobs: 80 files for nvcc, minutes on two cores
//
// The GPU machine uses the files built here if they load, and builds the rest.
// Copy the repository and .gpu/ to the machine, then: bash .gpu/start.sh [options of gpu:check]
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { knobs, routeAgain, variantsOf } from "./knobs.mjs";
import { build, program } from "./session.mjs";
import { programs } from "./steps/build.mjs";
import { placesOf } from "./steps/knobs.mjs";
import { buildVariants } from "./variants.mjs";

const { values: options } = parseArgs({
  options: { built: { type: "boolean", default: false }, variants: { type: "boolean", default: false } },
});

const root = path.resolve(import.meta.dirname, "../..");
const out = path.join(root, ".gpu");
const most = 60e6; // bytes of the archive
const wanted = ["commander", "node-addon-api", "node-api-headers", "tsx", "vitest"];
// esbuild's installer puts the binary of its platform's package into its own as well
const twice = "node_modules/esbuild/bin/";
const unneeded = /\.(d\.ts|d\.mts|d\.cts|map|md|markdown)$|\/(test|tests|docs|example|examples)\/|-musl\//;

function run(command, args, options = {}) {
  const { status, stdout, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    ...options,
  });
  if (status !== 0) {
    console.error(`bundle: ${command} ${args[0]} failed${error ? `: ${error.message}` : ""}`);
    process.exit(1);
  }
  return stdout;
}

/** Folders of the packages with all their dependencies, as npm resolved them. */
function packages(names) {
  const lock = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")).packages;
  const resolve = (from, name) => {
    for (let at = from; ; at = at.slice(0, at.lastIndexOf("node_modules/")).replace(/\/$/, "")) {
      const folder = path.posix.join(at, "node_modules", name);
      if (lock[folder] && existsSync(path.join(root, folder))) return folder;
      if (!at) return undefined; // optional, and not for this platform
    }
  };
  const found = new Set();
  const add = (folder) => {
    if (!folder || found.has(folder)) return;
    found.add(folder);
    const { dependencies, optionalDependencies } = lock[folder];
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) add(resolve(folder, name));
  };
  for (const name of names) add(resolve("", name));
  return [...found].filter((folder) => !folder.startsWith("node_modules/@types/"));
}

const stage = mkdtempSync(path.join(tmpdir(), "gpt-oss-bundle-"));
process.once("exit", () => rmSync(stage, { recursive: true, force: true }));

if (/libnode\.so/.test(run("ldd", [process.execPath]))) {
  console.error("bundle: this node is a small program around a shared libnode; run it with a node from nodejs.org");
  process.exit(1);
}
run("strip", ["-o", path.join(stage, "node"), process.execPath]);
for (const folder of packages(wanted)) {
  cpSync(path.join(root, folder), path.join(stage, folder), {
    recursive: true,
    // a package's own node_modules are packages of their own
    filter: (from) => {
      const inside = from.slice(path.join(root, folder).length) + (statSync(from).isDirectory() ? "/" : "");
      return !unneeded.test(inside) && !inside.startsWith("/node_modules") && `${folder}${inside}` !== twice;
    },
  });
}
run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" });
cpSync(path.join(root, "dist"), path.join(stage, "dist"), { recursive: true });
const changed = run("git", ["status", "--porcelain", "--untracked-files=no"]).trim() !== "";
writeFileSync(path.join(stage, "commit"), run("git", ["rev-parse", "--short", "HEAD"]).trim() + (changed ? "+" : ""));
if (options.built || options.variants) await addBuilt(path.join(stage, "built"));

/** All build outputs, so that the GPU machine need not build them. */
async function addBuilt(folder) {
  run(process.execPath, ["native/build.mjs"], { stdio: "inherit" });
  const parallel = ["--parallel", String(availableParallelism())];
  run("cmake", ["--build", build, ...parallel, "--target", ...programs], { stdio: "inherit" });
  mkdirSync(folder);
  const release = path.join(root, "build/Release");
  for (const name of programs) cpSync(program(name), path.join(folder, name));
  for (const name of ["gpt_oss.node", "libgptoss_cuda.so"]) cpSync(path.join(release, name), path.join(folder, name));
  if (options.variants) {
    const variants = [...variantsOf(knobs), routeAgain];
    const until = Number.POSITIVE_INFINITY;
    const built = await buildVariants(variants, {
      ...{ ...placesOf(false), root, build, program: program("oss_gpu_decode"), until },
    });
    for (const { name } of variants) {
      if (built.get(name).why) console.error(`bundle: ${name} is left out: ${built.get(name).why}`);
      else copyVariant(path.join(placesOf(false).folder, name), path.join(folder, "knobs", name));
    }
  }
  cpSync(path.join(stage, "commit"), path.join(folder, "commit"));
}
/** The module of a variant's folder, by its fingerprint. */
function copyVariant(from, to) {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (/^[0-9a-f]{32}\.so$/.test(name)) cpSync(path.join(from, name), path.join(to, name));
  }
}

const start = `#!/usr/bin/env bash
# Unpacks node, packages and the compiled TypeScript beside itself, and runs gpu:check with them. No network, no Node needed.
set -euo pipefail
cd "$(dirname "$0")/.."
unpack="import tarfile; tarfile.open('.gpu/bundle.tar.xz').extractall('.gpu')"
[ -x .gpu/node ] || tar -xJf .gpu/bundle.tar.xz -C .gpu 2>/dev/null || python3 -c "$unpack"
[ -e node_modules ] || ln -s .gpu/node_modules node_modules
[ -e dist ] || cp -r .gpu/dist dist
export PATH="$PWD/.gpu:$PATH:/usr/local/cuda/bin"
exec .gpu/node bench/gpu/check.mjs "$@"
`;
mkdirSync(out, { recursive: true });
for (const folder of [stage, out]) {
  writeFileSync(path.join(folder, "start.sh"), start);
  chmodSync(path.join(folder, "start.sh"), 0o755);
}
const archive = path.join(out, "bundle.tar.xz");
run("tar", ["-C", stage, "--sort=name", "--owner=0", "--group=0", "-cJf", archive, "."], {
  env: { ...process.env, XZ_OPT: "-6 -T0" },
});
const { size } = statSync(archive);
console.log(`${path.relative(root, archive)}: ${(size / 1e6).toFixed(1)} MB; on the GPU machine: bash .gpu/start.sh`);
if (size > most) {
  console.error(`bundle: more than ${most / 1e6} MB`);
  process.exit(1);
}
