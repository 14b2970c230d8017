import { cp, readdir, readFile, realpath } from "node:fs/promises";
import path from "node:path";
import { makeFolder } from "../common/make-folder.js";
import { GptOssError } from "../errors.js";

/**
 * Copies this package with everything that it needs at run time, as a `node_modules` that works without npm, a registry
 * or a compiler. It has the addon of this machine, so it is for the same kind of machine.
 */

interface Manifest {
  name: string;
  files?: string[];
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

interface Placed {
  /** The folder of the package on this machine. */
  from: string;
  /** Its folder in the copy, as a path below `node_modules`. */
  to: string;
}

/** @returns the folder of the package in the copy */
export async function copyPackage(root: string, target: string): Promise<string> {
  const { name } = await manifestOf(root);
  const own = path.join(target, "node_modules", name);
  await copyOwn(root, own);
  for (const { from, to } of await dependenciesOf(root)) {
    const filter = (file: string) => path.relative(from, file).split(path.sep)[0] !== "node_modules";
    await copy(from, path.join(target, "node_modules", to), filter);
  }
  return own;
}

/** A checkout has more than the package: only what npm would ship, and the addon that was built. */
async function copyOwn(root: string, target: string): Promise<void> {
  const { files = [] } = await manifestOf(root);
  for (const name of ["package.json", "README.md", ...files]) {
    await copy(path.join(root, name), path.join(target, name)).catch(ifAbsent);
  }
  const built = path.join(root, "build", "Release");
  const addons = ((await readdir(built).catch(ifAbsent)) ?? []).filter((name) => /\.(node|so|dylib)$/.test(name));
  for (const name of addons) await copy(path.join(built, name), path.join(target, "build", "Release", name));
}

/** Copies a file or a folder. `cp` would make a missing parent folder with `mkdir({ recursive: true })`. */
async function copy(from: string, to: string, filter: (file: string) => boolean = () => true): Promise<void> {
  await makeFolder(path.dirname(to));
  await cp(from, to, { recursive: true, dereference: true, filter });
}

/**
 * Lays the packages out as npm does: at the top where the name is free, else inside of the package that needs it. The
 * packages of one level are placed before those that they need, so that none hides another later.
 */
async function dependenciesOf(root: string): Promise<Placed[]> {
  const placed = new Map<string, string>();
  const queue: Placed[] = [{ from: await realpath(root), to: "" }];
  for (let parent = queue.shift(); parent !== undefined; parent = queue.shift()) {
    const { dependencies = {}, optionalDependencies = {} } = await manifestOf(parent.from);
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const from = await find(name, parent.from);
      if (from === null) {
        if (Object.hasOwn(optionalDependencies, name)) continue;
        throw new GptOssError(
          "UNSUPPORTED",
          `${parent.from} needs ${JSON.stringify(name)}, which is not installed; run npm install`,
        );
      }
      const seen = nearestPlaced(placed, parent.to, name);
      if (seen === from) continue;
      const to = seen === undefined || parent.to === "" ? name : path.posix.join(parent.to, "node_modules", name);
      placed.set(to, from);
      queue.push({ from, to });
    }
  }
  return [...placed].map(([to, from]) => ({ from, to }));
}

/** The package that Node would find from a place in the copy. */
function nearestPlaced(placed: ReadonlyMap<string, string>, at: string, name: string): string | undefined {
  for (let folder = at; folder !== ""; ) {
    const found = placed.get(path.posix.join(folder, "node_modules", name));
    if (found !== undefined) return found;
    const cut = folder.lastIndexOf("/node_modules/");
    folder = cut < 0 ? "" : folder.slice(0, cut);
  }
  return placed.get(name);
}

/** The package that Node finds from a folder of this machine, through links. */
async function find(name: string, from: string): Promise<string | null> {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const found = await realpath(path.join(folder, "node_modules", name)).catch(() => null);
    if (found !== null) return found;
    if (folder === path.dirname(folder)) return null;
  }
}

async function manifestOf(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(path.join(folder, "package.json"), "utf8")) as Manifest;
}

function ifAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
