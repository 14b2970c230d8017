// The tested programs, addon and module. Files that were built on another machine are used if they load here; only
// missing ones, and those that do not load, are built.
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { last } from "../process.mjs";
import { findCommit, build as folder, program, root } from "../session.mjs";

/** Every program that a step runs. */
export const programs = [...["oss_tests", "oss_gpu_decode", "oss_gpu_stages", "oss_gpu_floor", "oss_load_bench"]];
const release = path.join(root, "build/Release");
/** The folder where the addon looks for the module, and the folder of the programs. */
const places = (name) =>
  name === "gpt_oss.node"
    ? [path.join(release, name)]
    : name === "libgptoss_cuda.so"
      ? [path.join(release, name), path.join(folder, name)]
      : [path.join(folder, name)];

/** Whether the system's loader accepts a file that was built on another machine. */
export function loads(file) {
  if (!existsSync(file)) return false;
  if (!/\.(node|so)$/.test(file)) {
    const { status, stdout, stderr } = spawnSync("ldd", [file], { encoding: "utf8" });
    return status === 0 && !/not found/.test(stdout + stderr);
  }
  const { status, stderr } = spawnSync(
    process.execPath,
    ["-e", "process.dlopen({ exports: {} }, process.argv[1])", file],
    { encoding: "utf8" },
  );
  return status === 0 || /self-register/.test(stderr); // the module is a library, not an addon
}

/** Copies the built files that load to the folders of the steps. Returns the names of the others. */
export function takeBuilt(from, names) {
  return names.filter((name) => {
    if (!loads(path.join(from, name))) return true;
    for (const to of places(name)) {
      mkdirSync(path.dirname(to), { recursive: true });
      copyFileSync(path.join(from, name), to);
    }
    return false;
  });
}

/** Whether the module has kernels for this GPU: it runs a case of one kernel. */
function runsHere(session) {
  const args = ["--gpu", "cuda embed"];
  const { status, stdout } = spawnSync(session.tests, args, { encoding: "utf8", timeout: 60_000 });
  if (status !== 0) session.log(`the module that was built before does not run here:\n${last(stdout ?? "", 5)}`);
  return status === 0;
}

function takeWhatIsBuilt(session) {
  const all = ["gpt_oss.node", "libgptoss_cuda.so", ...programs];
  const from = session.options.built ?? path.join(root, ".gpu/built");
  const of = path.join(from, "commit");
  if (!existsSync(of)) return all;
  const commit = readFileSync(of, "utf8").trim();
  if (commit !== findCommit()) {
    session.log(`${from} was built from ${commit}: it is not used`);
    return all;
  }
  const missing = takeBuilt(from, all);
  const variants = path.join(from, "knobs");
  if (existsSync(variants)) cpSync(variants, path.join(folder, "knobs"), { recursive: true });
  if (missing.length > 0) session.log(`these files do not load here: ${missing.join(", ")}`);
  if (missing.includes("oss_tests") || missing.includes("libgptoss_cuda.so") || runsHere(session)) return missing;
  return [...missing, "libgptoss_cuda.so"];
}

async function make(session, missing, until) {
  const left = () => (until - Date.now()) / 1000;
  if (missing.includes("gpt_oss.node") || missing.includes("libgptoss_cuda.so")) {
    const args = ["native/build.mjs", "--cuda-architectures", "native"];
    const said = await session.node(args, { seconds: left() });
    if (!said.ok) return said;
    // The tested module is the packed one: beside the addon, and the same beside the test executable.
    if (existsSync(path.join(release, "libgptoss_cuda.so")))
      copyFileSync(path.join(release, "libgptoss_cuda.so"), path.join(folder, "libgptoss_cuda.so"));
  }
  const targets = missing.filter((name) => programs.includes(name));
  if (targets.length === 0) return { ok: true };
  const said = await configure(session, left());
  if (!said.ok) return said;
  const args = ["--build", folder, "--parallel", String(availableParallelism()), "--target", ...targets];
  return session.run("cmake", args, { seconds: left() });
}

/** CMake's files without the addon, if nothing had to be built before. */
export function configure(session, seconds) {
  if (existsSync(path.join(folder, "build.ninja"))) return { ok: true };
  const args = ["-S", root, "-B", folder, "-G", "Ninja", "-DOSS_ADDON=OFF", "-DOSS_CUDA_ARCHITECTURES=native"];
  return session.run("cmake", args, { seconds });
}

export const build = {
  name: "build",
  least: 5,
  most: 240,
  reserve: 45,
  async run(session, seconds) {
    if (session.emulated) return;
    const until = Date.now() + seconds * 1000;
    const missing = takeWhatIsBuilt(session);
    if (missing.length > 0) {
      const said = await make(session, missing, until);
      const tests = program("oss_tests");
      if (!said.ok) session.count({ failed: 1 }, last(said.text, 60));
      // Without a bench, its step fails with a message. Without the tests and the module, no check can run.
      if (!said.ok && (!tests || !existsSync(path.join(folder, "libgptoss_cuda.so")))) session.stop = true;
    } else {
      session.log("everything that was built before loads here; nothing was built");
    }
    if (session.stop || existsSync(path.join(root, "dist/index.js"))) return;
    const tsc = ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"];
    const said = await session.node(tsc, { seconds: (until - Date.now()) / 1000 });
    if (!said.ok) session.count({ failed: 1 }, `dist/ is missing and cannot be built: ${last(said.text, 3)}`);
  },
};
