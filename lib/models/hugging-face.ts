import path from "node:path";
import { GptOssError, invalidArgument } from "../errors.js";
import { adapterIsNoModel } from "./adapter-refusal.js";
import { isFolder, list, readText } from "./disk.js";
import { few, hasConfig, isAdapterFolder, modelIn, oneOf } from "./model-files.js";
import { matchingRepositories, type RepositoryName } from "./names.js";
import { type Candidate, firstWhole, type Sought } from "./sought.js";

/**
 * The cache of Hugging Face's libraries: `models--OWNER--NAME/snapshots/COMMIT` has links to the files, and
 * `refs/REVISION` the commit of a branch or tag. Its layout is documented as "Hub local cache" (`local-cache.md` in
 * hub-docs).
 */

const prefix = "models--";

/** Searches the cache for the snapshot that a name means. @throws GptOssError INVALID_ARGUMENT for several ones */
export async function inHuggingFaceCache(cache: string | null, wanted: RepositoryName): Promise<Sought> {
  if (cache === null) return { absent: "this account has no home folder" };
  const repositories = await cachedRepositories(cache, wanted);
  if ("absent" in repositories) return repositories;
  const candidates = repositories.names.map(
    (repository): Candidate => ({ repository, open: () => openRepository(cache, repository, wanted) }),
  );
  return firstWhole(candidates, wanted, repositories.isCut);
}

/** The repositories in the cache. The wanted one is among them even where there are too many to list. */
async function cachedRepositories(
  cache: string,
  { owner, name }: RepositoryName,
): Promise<{ names: string[]; isCut: boolean } | { absent: string }> {
  const { names, isCut, problem } = await list(cache);
  if (problem !== null) return { absent: problem };
  const found = names.filter((each) => each.startsWith(prefix)).map(repositoryOf);
  const whole = owner === null ? name : `${owner}/${name}`;
  if (isCut && !found.includes(whole) && (await isFolder(folderOf(cache, whole)))) found.push(whole);
  return { names: found, isCut };
}

/** The snapshot that the name of a repository with its owner means, whatever it holds. */
export async function snapshotInCache(
  cache: string,
  wanted: RepositoryName,
): Promise<Snapshot | { incomplete: GptOssError } | { absent: string }> {
  const repositories = await cachedRepositories(cache, wanted);
  if ("absent" in repositories) return repositories;
  const [repository] = matchingRepositories(wanted, repositories.names);
  if (repository === undefined) return { absent: "no such repository" };
  return snapshotOf(folderOf(cache, repository), repository, wanted.revision);
}

/** All repositories in the cache, for a list of models. */
export async function allCachedRepositories(cache: string): Promise<{ repository: string; folder: string }[]> {
  const { names } = await list(cache);
  const repositories = names.filter((each) => each.startsWith(prefix)).map(repositoryOf);
  return repositories.map((repository) => ({ repository, folder: folderOf(cache, repository) }));
}

const repositoryOf = (folder: string) => folder.slice(prefix.length).replace("--", "/");
const folderOf = (cache: string, repository: string) => path.join(cache, prefix + repository.replace("/", "--"));

async function openRepository(cache: string, repository: string, wanted: RepositoryName): Promise<Sought> {
  const snapshot = await snapshotOf(folderOf(cache, repository), repository, wanted.revision);
  if ("incomplete" in snapshot) return snapshot;
  const { folder, commit, revision } = snapshot;
  const at = wanted.revision === null ? repository : `${repository}@${wanted.revision}`;
  const model = await modelIn(folder, wanted.selection, (selection) => `${at}:${selection}`);
  if (model === null && isAdapterFolder((await list(folder)).names)) {
    return { incomplete: await adapterIsNoModel(folder) };
  }
  if (model === null) {
    const found = (await hasConfig(folder)) ? "its config.json but no weights" : "no weights";
    return incomplete(repository, wanted.revision, `expected a model in ${folder}, found ${found}`);
  }
  const { bytes, file, missing } = model;
  if (missing.length > 0) {
    return incomplete(repository, wanted.revision, `the snapshot ${folder} lacks ${few(missing)}`);
  }
  const details = { repository, ...(revision !== null && { revision }), commit, ...(file !== null && { file }) };
  return { found: { path: model.path, bytes, details } };
}

export interface Snapshot {
  folder: string;
  commit: string;
  /** The name that leads to the commit; null: it is the only snapshot. */
  revision: string | null;
}

/** The snapshot of a revision; without one that of `main`, or the only one. */
async function snapshotOf(
  folder: string,
  repository: string,
  asked: string | null,
): Promise<Snapshot | { incomplete: GptOssError }> {
  const snapshots = await snapshotsOf(folder);
  const at = (commit: string, revision: string | null): Snapshot => ({
    folder: path.join(folder, "snapshots", commit),
    commit,
    revision,
  });
  if (asked !== null && snapshots.includes(asked.toLowerCase())) return at(asked.toLowerCase(), asked);
  const revision = asked ?? "main";
  const commit = await commitOf(folder, revision);
  if (commit !== null && snapshots.includes(commit)) return at(commit, revision);
  if (commit === null && asked === null && snapshots.length === 1) return at(snapshots[0]!, null);
  const others = snapshots.map((each) => `${repository}@${each}`);
  if (commit === null && asked === null && others.length > 1) {
    throw invalidArgument("the model", oneOf(others), repository, "model");
  }
  const names = commit === null ? "is not in the cache" : `is commit ${commit}, whose snapshot is not in the cache`;
  const instead = others.length > 0 ? `; the cache has ${few(others)}` : "";
  return incomplete(repository, asked, `the revision ${revision} of ${repository} ${names}${instead}`);
}

/** The commits of the snapshots. */
export async function snapshotsOf(folder: string): Promise<string[]> {
  return (await list(path.join(folder, "snapshots"))).names.filter((name) => /^[0-9a-f]{40}$/.test(name));
}

/** The commit of a branch or tag. Null: the cache does not know it, or the file has something else. */
export async function commitOf(folder: string, revision: string): Promise<string | null> {
  const ref = await readText(path.join(folder, "refs", revision), 1024);
  return "text" in ref && /^[0-9a-f]{40}$/i.test(ref.text.trim()) ? ref.text.trim().toLowerCase() : null;
}

function incomplete(repository: string, revision: string | null, what: string): { incomplete: GptOssError } {
  const command = `gpt-oss pull ${repository}${revision === null ? "" : ` --revision ${revision}`}`;
  const message = `The model ${repository} in the Hugging Face cache is not complete: ${what}; "${command}" completes it`;
  return { incomplete: new GptOssError("MODEL_NOT_FOUND", message, { field: "model" }) };
}
