// Modules that differ from the built module by a patch of kernels/cuda. The sources are not changed: patched files are
// in a separate folder that comes first on the include path. ninja gives the compile commands.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { patched } from "./patches.mjs";
import { runProcess } from "./process.mjs";

/** The files that the patches change: the launches of a decode step that can begin early. */
export const sources = ["attention_split", "few_experts", "linear", "qkv"].map((name) => `kernels/cuda/${name}.cu`);

const shell = (command, cwd, until) =>
  runProcess("sh", ["-c", command], { cwd, seconds: Math.max(0, until - Date.now()) / 1000, show: false });

/** The first lines of a compiler's or linker's output that give a reason; the last line if it was ended. */
function whyNot(text) {
  const lines = text.trim().split("\n");
  const errors = lines.filter((line) => /error/i.test(line)).slice(0, 3);
  return (errors.length > 0 ? errors : lines.slice(-1)).join("; ");
}

/** ninja's commands for `target` in folder `build`: { link, compile: Map of source to command }. */
function commandsOf(target, build, root) {
  const { status, stdout, stderr } = spawnSync("ninja", ["-C", build, "-t", "commands", target], { encoding: "utf8" });
  if (status !== 0) throw new Error(`ninja does not list the commands for ${target}: ${stderr || stdout}`);
  const lines = stdout.trim().split("\n");
  const compile = new Map();
  for (const source of sources) {
    const line = lines.find((line) => line.includes(` -c ${path.join(root, source)}`));
    if (!line) throw new Error(`ninja does not compile ${source} for ${target}`);
    compile.set(source, line);
  }
  return { link: lines.at(-1), compile };
}

/** A hash over every file that a variant can be made from; the same on every machine. */
function fingerprint(root, target) {
  const hash = createHash("sha256").update(target);
  const names = readdirSync(path.join(root, "kernels"), { recursive: true }).filter((name) =>
    /\.(h|cuh|cu|txt)$/.test(name),
  );
  for (const name of names.sort()) hash.update(name).update(readFileSync(path.join(root, "kernels", name)));
  return hash;
}

/** Compile and link commands of one variant, whose patched files are in `folder`. */
function commandsIn(folder, { link, compile }, root) {
  let linked = link.replace(/ -o \S+/, ` -o ${path.join(folder, "module.so")}`);
  const compiled = [...compile].map(([source, command]) => {
    const object = / -o (\S+)/.exec(command)[1];
    const own = path.join(folder, `${path.basename(source)}.o`);
    linked = linked.replace(` ${object} `, ` ${own} `);
    const from = path.join(folder, source);
    return command
      .replace(/ -MD -MT \S+ -MF \S+/, "")
      .replace(` -I${root} `, ` -I${folder} -I${root} `) // after the emulator's folder, which replaces some files
      .replace(` -o ${object}`, ` -o ${own}`)
      .replace(` -c ${path.join(root, source)}`, ` -c ${existsSync(from) ? from : path.join(root, source)}`);
  });
  return { compiled, linked };
}

/**
 * Builds a module for each variant; { name: "base" } uses the built module. Copies `program` beside each. Variants from
 * an earlier call or from another machine are reused if the sources are the same.
 *
 * @param library the built module
 * @param configure called before the first module is built: creates CMake's files in `build` if they are missing
 * @returns Map of the variant's name to { program } or { why } it could not be built
 */
export async function buildVariants(
  variants,
  { root, build, target, library, program, folder, until, configure = () => undefined },
) {
  const built = new Map();
  const put = (name, from) => {
    const to = path.join(folder, name);
    mkdirSync(to, { recursive: true });
    const beside = [path.join(to, "libgptoss_cuda.so"), path.join(to, path.basename(program))];
    for (const file of beside) rmSync(file, { force: true });
    copyFileSync(from, beside[0]);
    linkSync(program, beside[1]);
    built.set(name, { program: beside[1] });
  };
  put("base", library);

  const jobs = [];
  const wanted = [];
  for (const variant of variants) {
    const patch = readFileSync(path.join(root, variant.patch), "utf8");
    const key = fingerprint(root, target).update(patch).digest("hex").slice(0, 32);
    const made = path.join(folder, variant.name, `${key}.so`);
    if (existsSync(made)) put(variant.name, made);
    else wanted.push({ variant, patch, made });
  }
  if (wanted.length === 0) return built;
  await configure();
  const commands = commandsOf(target, build, root);
  for (const { variant, patch, made } of wanted) {
    const own = path.join(folder, variant.name);
    rmSync(own, { recursive: true, force: true });
    for (const [file, text] of patched(patch, (file) => readFileSync(path.join(root, file), "utf8"))) {
      mkdirSync(path.dirname(path.join(own, file)), { recursive: true });
      writeFileSync(path.join(own, file), text);
    }
    const { compiled, linked } = commandsIn(own, commands, root);
    const link = { variant, linked, made, left: compiled.length };
    jobs.push(...compiled.map((command) => ({ command, link })));
  }
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (let job = jobs.shift(); job; job = jobs.shift()) {
        const { command, link } = job;
        const { name } = link.variant;
        const fail = ({ text }) => built.set(name, { why: whyNot(text) });
        const compiled = await shell(command, build, until);
        if (!compiled.ok) fail(compiled);
        if (--link.left > 0 || built.has(name)) continue;
        const linked = await shell(link.linked, build, until);
        if (!linked.ok) {
          fail(linked);
          continue;
        }
        renameSync(path.join(path.dirname(link.made), "module.so"), link.made);
        put(name, link.made);
      }
    }),
  );
  return built;
}
