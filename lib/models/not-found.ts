import path from "node:path";
import { shortened } from "../common/shortened.js";
import { nearest } from "../common/unknown-option.js";
import { GptOssError } from "../errors.js";
import { listIn } from "./list.js";
import {
  isOnlyPath,
  nameToPull,
  releasedName,
  releasedOfOllama,
  releasedRepositories,
  repositoryName,
} from "./names.js";
import type { ModelPlaces } from "./places.js";
import { noSuchFolder, noSuchModel } from "./sought.js";
import { sourceWords } from "./source-words.js";
import type { TriedPlace } from "./types.js";

/** @throws GptOssError MODEL_NOT_FOUND always: where it was searched, a near name, and the command that gets it */
export async function modelNotFound(places: ModelPlaces, name: string, tried: readonly TriedPlace[]): Promise<never> {
  const [{ place, outcome }, ...searched] = tried as [TriedPlace, ...TriedPlace[]];
  if (isOnlyPath(name))
    throw notFound(`Expected a checkpoint folder or a file of weights at ${shortened(place ?? "")}, found ${outcome}`);
  const where = [`at ${shortened(place ?? "")}`, ...searched.filter(isWorthTelling).map(placeWords)].join(", ");
  const expected = `Expected a path or a model of this machine, found no ${JSON.stringify(shortened(name))} ${where}`;
  throw notFound(`${expected}; ${sizes(name)}${await advice(places, name)}`);
}

function notFound(message: string): GptOssError {
  return new GptOssError("MODEL_NOT_FOUND", message, { field: "model" });
}

/** The second folder of Ollama is that of its service, which most machines do not have. */
function isWorthTelling({ source, outcome }: TriedPlace, index: number, all: readonly TriedPlace[]): boolean {
  const isSecond = all.findIndex((each) => each.source === source) !== index;
  return !(isSecond && outcome === noSuchFolder);
}

function placeWords({ source, place, outcome }: TriedPlace): string {
  const why = outcome === noSuchModel ? [] : [outcome];
  return `in ${sourceWords(source)} (${[...(place === null ? [] : [place]), ...why].join(": ")})`;
}

/** What to do, the likeliest first. */
async function advice(places: ModelPlaces, name: string): Promise<string> {
  const found = (await listIn(places)).filter(({ problem }) => problem === null).map((model) => model.name);
  const meant = releasedName(name) ?? releasedOfOllama(name);
  const wanted = meant === null ? null : `openai/${meant}`;
  if (wanted !== null) {
    const here = found.find((each) => releasedAs(each) === meant);
    const command = `"gpt-oss pull ${wanted}"`;
    return here === undefined ? `${command} gets it` : `did you mean ${here}, or should ${command} get it?`;
  }
  const released = releasedRepositories.flatMap((each) => [each, path.posix.basename(each)]);
  const near = nearest(name, ["demo", ...found, ...released]);
  if (near === "demo" || (near !== null && found.includes(near))) return `did you mean ${near}?`;
  if (near !== null) return `did you mean ${near}, which "gpt-oss pull openai/${releasedName(near)}" gets?`;
  const repository = repositoryName(name);
  const other = repository && nameToPull(repository);
  if (other !== null && other === shortened(other)) return `"gpt-oss pull ${other}" gets it if Hugging Face has it`;
  return '"gpt-oss models" lists what this machine has, and "gpt-oss pull openai/gpt-oss-20b" gets a model';
}

const sized = /^((openai\/)?gpt-oss(-safeguard)?[-:])?\d+b$/i;

/** For the name of a size that was not released. */
function sizes(name: string): string {
  const isOther = sized.test(name) && (releasedName(name) ?? releasedOfOllama(name)) === null;
  return isOther ? "gpt-oss has the sizes 20b and 120b; " : "";
}

/** The released model that a model of this machine is, by its name; a repository of GGUF files ends in `-GGUF`. */
function releasedAs(name: string): string | null {
  const base = path.posix.basename(repositoryName(name)?.name ?? name);
  return releasedOfOllama(name) ?? releasedName(base.replace(/-gguf$/i, ""));
}
