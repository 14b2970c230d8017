import path from "node:path";
import { GptOssError } from "../errors.js";
import { list, mostEntries } from "./disk.js";
import { few, modelIn } from "./model-files.js";
import type { RepositoryName } from "./names.js";
import { type Candidate, firstWhole, noSuchModel, type Sought } from "./sought.js";

/**
 * LM Studio's folder: `PUBLISHER/REPOSITORY/` has GGUF files, or a checkpoint with safetensors. The layout is documented
 * at lmstudio.ai, "Import models".
 */

/** Searches LM Studio's folder for a model. @throws GptOssError INVALID_ARGUMENT where several fit */
export async function inLmStudio(models: string | null, wanted: RepositoryName): Promise<Sought> {
  if (models === null) return { absent: "this account has no home folder" };
  if (wanted.revision !== null) return { absent: "it keeps no revisions" };
  const { repositories, isCut, problem } = await lmStudioRepositories(models);
  if (problem !== null) return { absent: problem };
  const candidates = repositories.map(
    (repository): Candidate => ({ repository, open: () => openFolder(models, repository, wanted.selection) }),
  );
  return firstWhole(candidates, wanted, isCut);
}

/** The repositories in LM Studio's folder, `mostEntries` at most. */
export async function lmStudioRepositories(
  models: string,
): Promise<{ repositories: string[]; isCut: boolean; problem: string | null }> {
  const publishers = await list(models);
  const repositories: string[] = [];
  let { isCut } = publishers;
  for (const publisher of publishers.names) {
    if (publisher.startsWith(".")) continue;
    const inner = await list(path.join(models, publisher));
    const names = inner.names.filter((name) => !name.startsWith("."));
    repositories.push(...names.map((name) => `${publisher}/${name}`));
    isCut ||= inner.isCut || repositories.length > mostEntries;
    if (repositories.length > mostEntries) break;
  }
  return { repositories, isCut, problem: publishers.problem };
}

async function openFolder(models: string, repository: string, selection: string | null): Promise<Sought> {
  const folder = path.join(models, repository);
  const model = await modelIn(folder, selection, (each) => `${repository}:${each}`);
  if (model === null) return { absent: noSuchModel };
  const { bytes, file, missing } = model;
  if (missing.length > 0) {
    const message = `The model ${repository} of LM Studio is not complete: ${folder} lacks ${few(missing)}; load it again in LM Studio`;
    return { incomplete: new GptOssError("MODEL_NOT_FOUND", message, { field: "model" }) };
  }
  return { found: { path: model.path, bytes, details: { repository, ...(file !== null && { file }) } } };
}
