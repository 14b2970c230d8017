import { opendir, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { throwIfAborted } from "../common/abort.js";
import { makeFolder } from "../common/make-folder.js";
import { GptOssError } from "../errors.js";
import { isAdapterFolder } from "../models/index.js";
import { packageManifest, packageRoot } from "../package-root.js";
import { checksumFile, readChecksums, writeChecksums } from "./checksums.js";
import { writeError } from "./disk-errors.js";
import { hashFiles } from "./hash-files.js";
import { type Machine, thisMachine } from "./machine.js";
import { neededGlibc } from "./needed-glibc.js";
import { type PullOptions, readPullOptions } from "./options.js";
import { copyPackage } from "./package-copy.js";
import { sizeOf } from "./place.js";
import { pullOn } from "./pull.js";
import type { PulledModel } from "./pulled-model.js";

const modelFolder = "model";
const packageFolder = "package";
const launcher = "gpt-oss.mjs";
const readme = "README.txt";
const parts = [modelFolder, packageFolder, launcher, readme, checksumFile];

/**
 * Writes a folder for a machine without a network: the program with all that it needs, the model, a list of checksums
 * and a README. A call that was stopped is repeated with the same folder.
 *
 * @throws as `pullModel`; INVALID_ARGUMENT for a folder with other things in it, and for an adapter
 */
export async function makeBundle(
  folder: string,
  given: PullOptions,
  machine: Machine = thisMachine(),
): Promise<PulledModel & { bundle: string }> {
  const bundle = path.resolve(folder);
  const options = readPullOptions({ ...given, dir: path.join(bundle, modelFolder) });
  await refuseOther(bundle);
  const pulled = await pullOn(machine, options, (names) => refuseAdapter(names, options.repository));
  try {
    await addProgram(bundle, pulled, options.signal);
  } catch (error) {
    throw writeError(error, bundle);
  }
  return { ...pulled, bundle };
}

async function addProgram(bundle: string, pulled: PulledModel, signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal);
  const own = await copyPackage(packageRoot, path.join(bundle, packageFolder));
  throwIfAborted(signal);
  const main = path
    .relative(bundle, path.join(own, "dist", "cli", "main.js"))
    .split(path.sep)
    .join("/");
  await writeFile(path.join(bundle, launcher), `import "./${main}";\n`);
  await writeFile(path.join(bundle, readme), readmeText(pulled, bundle, await neededSystem(bundle)));
  await writeChecksums(bundle, await checksumsOf(bundle, signal));
}

/** What the addon of this machine needs: one that was built here can need more than a prebuilt one. */
async function neededSystem(bundle: string): Promise<string> {
  const kind = `${process.platform}-${process.arch}`;
  if (process.platform !== "linux") return kind;
  const native = (await filesBelow(bundle, packageFolder)).filter((name) => /\.(node|so)$/.test(name));
  return `${kind} with glibc ${await neededGlibc(native.map((name) => path.join(bundle, name)))} or later`;
}

async function refuseOther(bundle: string): Promise<void> {
  const names = await readdir(bundle).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new GptOssError("INVALID_ARGUMENT", `Expected a folder for --bundle at ${bundle} (${error.code})`, {
      cause: error,
      field: "bundle",
    });
  });
  const other = names.find((name) => !parts.includes(name));
  if (other === undefined) return;
  const message = `Expected a new or empty folder for --bundle, found ${JSON.stringify(other)} in ${bundle}; name another one`;
  throw new GptOssError("INVALID_ARGUMENT", message, { field: "bundle" });
}

/** A bundle answers by itself, and an adapter needs its model. */
function refuseAdapter(names: readonly string[], repository: string): void {
  if (!isAdapterFolder(names)) return;
  const message =
    `${repository} is an adapter, and a bundle needs a model; make the bundle of the model that it was trained on, ` +
    `carry the folder of "gpt-oss pull ${repository} --dir FOLDER" beside it, and name that folder with --adapter`;
  throw new GptOssError("INVALID_ARGUMENT", message, { field: "bundle" });
}

/** The model's hashes were checked when it was downloaded; the rest is hashed here. */
async function checksumsOf(bundle: string, signal: AbortSignal | undefined): Promise<Map<string, string>> {
  const sums = new Map<string, string>();
  for (const [name, hash] of (await readChecksums(path.join(bundle, modelFolder))) ?? []) {
    sums.set(`${modelFolder}/${name}`, hash);
  }
  const others = [launcher, readme, `${modelFolder}/${checksumFile}`, ...(await filesBelow(bundle, packageFolder))];
  const tasks = await Promise.all(
    others.map(async (name) => {
      const file = path.join(bundle, name);
      return { name, file, size: (await sizeOf(file)) ?? 0, algorithm: "sha256" as const };
    }),
  );
  await hashFiles(tasks, { signal, onBytes: () => {} }, ({ name }, outcome) => {
    if ("error" in outcome) throw outcome.error;
    sums.set(name, outcome.hash);
  });
  return sums;
}

async function filesBelow(root: string, folder: string): Promise<string[]> {
  await makeFolder(path.join(root, folder));
  const files: string[] = [];
  for await (const entry of await opendir(path.join(root, folder), { recursive: true })) {
    if (entry.isFile())
      files.push(path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"));
  }
  return files;
}

/** A word of a shell's command line. */
const shellWord = (text: string) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** @param bundle the folder that has the model, and from which the commands are run */
export function readmeText(
  { repository, commit, path: model }: Pick<PulledModel, "repository" | "commit" | "path">,
  bundle: string,
  system: string,
): string {
  const name = shellWord(path.relative(bundle, model).split(path.sep).join("/"));
  const { version } = packageManifest();
  return `${repository} (commit ${commit}) with gpt-oss-node ${version}

This folder needs no network, no npm and no compiler. It needs Node 20.17 or later (of Node 22: 22.9 or later) on
${system}, the kind of machine that it was made on. Copy it as it is, then run in it:

  sha256sum -c --quiet ${checksumFile}     (on a Mac: shasum -a 256 -c ${checksumFile})
  node ${launcher} inspect ${name}
  node ${launcher} chat ${name}

"node ${launcher} serve ${name}" starts the server. A program of your own imports "gpt-oss-node"
when ${packageFolder}/node_modules is copied beside it.
`;
}
