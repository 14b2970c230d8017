// Builds the native part with cmake-js and puts the addon where `bindings` and prebuildify look: build/Release.
//
//   node native/build.mjs [--unless-present] [--target NAME] [--sanitize LIST]
//
// CMake works in .cmake/<platform>-<arch>, outside build/, because node-gyp wipes build/; one directory per architecture,
// so that a cross build never reuses the wrong objects.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const require = createRequire(import.meta.url);

function option(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
const target = option("--target") ?? "gpt_oss";
const sanitize = option("--sanitize") ?? "";
const arch = (process.env.PREBUILD_ARCH ?? process.arch).split("+")[0];
const platform = process.env.PREBUILD_PLATFORM ?? process.platform;
const out = path.join(root, ".cmake", `${platform}-${arch}${sanitize ? `-${sanitize.replaceAll(",", "-")}` : ""}`);

// A package that ships a prebuilt addon needs no compiler.
const prebuilt = path.join(root, "prebuilds", `${platform}-${arch}`);
if (process.argv.includes("--unless-present") && existsSync(prebuilt)) process.exit(0);

for (const [program, why] of [["cmake", "CMake >= 3.20 (Debian/Ubuntu: apt-get install cmake)"]]) {
  if (spawnSync(program, ["--version"], { stdio: "ignore" }).error) {
    console.error(`gpt-oss-node: building the addon needs ${why}, and "${program}" was not found on PATH.`);
    process.exit(1);
  }
}

const cli = path.join(path.dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
function cmakeJs(...args) {
  const run = spawnSync(process.execPath, [cli, ...args, "-O", out], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (run.status !== 0) process.exit(run.status ?? 1);
}
cmakeJs("configure", "--log-level", "warn", `--CDOSS_SANITIZE=${sanitize}`);
cmakeJs("build", "--log-level", "warn", "--target", target, "--parallel", String(availableParallelism()));

if (target === "gpt_oss") {
  const built = [path.join(out, "gpt_oss.node"), path.join(out, "Release", "gpt_oss.node")].find(existsSync);
  if (!built) throw new Error(`The build left no gpt_oss.node in ${out}`);
  const folder = path.join(root, "build", sanitize ? "Sanitize" : "Release");
  mkdirSync(folder, { recursive: true });
  // Renamed into place: a process that has the old addon mapped keeps its file.
  const temporary = path.join(folder, `gpt_oss.node.${process.pid}`);
  copyFileSync(built, temporary);
  renameSync(temporary, path.join(folder, "gpt_oss.node"));
}
