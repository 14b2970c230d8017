import { createHash } from "node:crypto";
import { lstat, readdir, readFile, rm, stat } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { makeFolder } from "../common/make-folder.js";
import { GptOssError, refusalOf } from "../errors.js";
import { packageManifest } from "../package-root.js";
import { expandPack, isExpanded, writeExpansion } from "./expand.js";
import { isAbandoned } from "./partial-name.js";

/** Show this label wherever the model is used: it is not gpt-oss, it only has the architecture. */
export const demoModelLabel = "demo model: answers about 130 questions; it is not gpt-oss";

/** The trained part of its parameters: the rows of all other tokens are zero. */
export const demoModelTrained = { parameters: 3_060_160, tokens: 3167 };

/**
 * Returns a checkpoint folder with the embedded demo model. The model is expanded into the user's cache on first use,
 * and again where a byte comparison finds a difference. The folder's name is a digest of the pack, so that other
 * versions of the package use other folders.
 *
 * @throws GptOssError MODEL_NOT_FOUND when the pack is not installed, or no folder could be written (denied, disk
 * full);
 *   MODEL_FORMAT when the pack is damaged; RESOURCE_LIMIT when the process may not open more files.
 */
export async function demoModelPath(): Promise<string> {
  const bytes = await readPack();
  const expansion = expandPack(bytes);
  const name = `demo-model-${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}`;
  const refusals: string[] = [];
  for (const { cache, shared } of caches()) {
    const folder = path.join(cache, name);
    try {
      if (shared) await ensureOwned(cache);
      if (!(await isExpanded(folder, expansion))) await writeExpansion(folder, expansion);
      await removeLeftovers(folder);
      return folder;
    } catch (error) {
      refuse(error);
      refusals.push(`${cache}: ${(error as Error).message}`);
    }
  }
  throw new GptOssError(
    "MODEL_NOT_FOUND",
    `The demo model could not be unpacked, which takes 20 MB of disk; make one of these folders writable, or set ${process.platform === "win32" ? "LOCALAPPDATA" : "XDG_CACHE_HOME"} to one that is (${refusals.join("; ")})`,
  );
}

/** Throws when the process itself lacks a resource, because another folder would not help. */
function refuse(cause: unknown): void {
  const refusal = refusalOf(cause);
  if (refusal) {
    throw new GptOssError(refusal, `The demo model could not be unpacked: ${(cause as Error).message}`, { cause });
  }
}

async function readPack(): Promise<Buffer> {
  packageManifest(); // throws in a bundle
  // Relative to lib/ and dist/. Written out, so that file tracers (Next.js) include it.
  const url = new URL(/* webpackIgnore: true */ "../../lib/demo-model/demo-model.safetensors", import.meta.url);
  const pack = fileURLToPath(url);
  try {
    return await readFile(pack);
  } catch (cause) {
    refuse(cause);
    throw new GptOssError("MODEL_NOT_FOUND", `The demo model is not installed: expected it in ${pack}`, { cause });
  }
}

/** The user's cache folder. For accounts without one, the temporary folder, which other users can write to. */
function caches(): { cache: string; shared: boolean }[] {
  const user = userCache();
  const temporary = path.join(tmpdir(), `gpt-oss-node-${process.getuid?.() ?? "cache"}`);
  const own = user === undefined ? [] : [{ cache: path.join(user, "gpt-oss-node"), shared: false }];
  return [...own, { cache: temporary, shared: true }];
}

function userCache(): string | undefined {
  const { XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = process.env;
  if (process.platform === "win32") return local;
  if (xdg && path.isAbsolute(xdg)) return xdg;
  try {
    return path.join(homedir(), process.platform === "darwin" ? "Library/Caches" : ".cache");
  } catch {
    return undefined; // an account without a home, as in containers
  }
}

/** Makes the folder for this user only. Another user could have made it before, with a different model in it. */
async function ensureOwned(folder: string): Promise<void> {
  await makeFolder(folder, 0o700);
  const info = await lstat(folder);
  if (process.getuid && (info.uid !== process.getuid() || !info.isDirectory())) {
    throw new Error(`this is not a folder of user ${process.getuid()}`);
  }
}

/** Deletes the files of processes that were killed while expanding. A failure of this cleanup is ignored. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const file = path.join(folder, name);
    const modified = await stat(file).then(
      (info) => info.mtimeMs,
      () => Date.now(), // another process has removed it
    );
    if (isAbandoned(name, Date.now() - modified)) await rm(file, { force: true, recursive: true }).catch(() => {});
  }
}
