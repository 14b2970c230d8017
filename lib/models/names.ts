import path from "node:path";

/** The names that users type for models, read. */

/** `owner/name@revision:selection`; everything but the name can be absent. */
export interface RepositoryName {
  owner: string | null;
  name: string;
  /** A branch, a tag or a commit. */
  revision: string | null;
  /** A GGUF file, or its quantization, such as `Q8_0`. */
  selection: string | null;
}

/** The released models, in the organization `openai`. */
const released = ["gpt-oss-20b", "gpt-oss-120b", "gpt-oss-safeguard-20b", "gpt-oss-safeguard-120b"];

/** Their repositories on Hugging Face. */
export const releasedRepositories: readonly string[] = released.map((name) => `openai/${name}`);

/** The name of a released model for `20b`, `gpt-oss-20b` or `openai/gpt-oss-20b`, in any case; null: it is none. */
export function releasedName(text: string): string | null {
  const wanted = text
    .toLowerCase()
    .replace(/\/+$/, "")
    .replace(/^openai\//, "");
  return released.find((name) => name === wanted || name === `gpt-oss-${wanted}`) ?? null;
}

/** The released model whose name is a part of this text, in any case. */
export function releasedIn(text: string): string | null {
  return released.find((name) => text.toLowerCase().includes(name)) ?? null;
}

/** The released model that a name of Ollama stands for: `gpt-oss:20b`. */
export function releasedOfOllama(text: string): string | null {
  const [model, tag = "latest"] = text.toLowerCase().split(":");
  if (model !== "gpt-oss" && model !== "gpt-oss-safeguard") return null;
  return released.find((name) => name === `${model}-${tag === "latest" ? "20b" : tag}`) ?? null;
}

/** Whether this can only be a path: it is absolute, or begins with `./` or `../`. */
export function isOnlyPath(text: string): boolean {
  return path.isAbsolute(text) || /^\.{1,2}([/\\]|$)/.test(text);
}

const word = "[A-Za-z0-9_][\\w.-]*";
const form = new RegExp(`^(?:(${word})/)?(${word})(?:@([^:@]+))?(?::(.+))?$`);
const filePath = new RegExp(`^(${word})/(${word})/(.+\\.gguf)$`, "i");

/** Before a repository in an address of Hugging Face, and in names that Ollama gives to its repositories. */
const hub = /^(https?:\/\/)?(huggingface\.co|hf\.co)\//i;

/** The rest of an address in a browser: `owner/name/tree/REVISION`, `owner/name/blob/REVISION/FILE`. */
const page = new RegExp(`^(${word})/(${word})/(?:tree|blob|resolve)/([^/]+)(?:/(.+))?$`);

/** Reads the name of a repository, or its address. @returns null where it cannot be one */
export function repositoryName(text: string): RepositoryName | null {
  if (hub.test(text)) return ofAddress(text.replace(hub, "").replace(/[?#].*$/, ""));
  return ofName(text);
}

/** A folder, or a file that is no GGUF file, selects nothing. */
function ofAddress(rest: string): RepositoryName | null {
  const [, owner, name, encoded, file] = page.exec(rest.replace(/\/+$/, "")) ?? [];
  if (owner === undefined || name === undefined || encoded === undefined) return ofName(rest);
  const revision = encoded.replaceAll(/%2f/gi, "/");
  const selection = file !== undefined && /\.gguf$/i.test(file) ? file : null;
  return isRevision(revision) ? { owner, name, revision, selection } : null;
}

function ofName(text: string): RepositoryName | null {
  const trimmed = text.replace(/\/+$/, "");
  const [, publisher, repository, file] = filePath.exec(trimmed) ?? [];
  if (publisher && repository && file) return { owner: publisher, name: repository, revision: null, selection: file };
  const [, owner = null, name, revision = null, selection = null] = form.exec(trimmed) ?? [];
  if (name === undefined || (revision !== null && !isRevision(revision))) return null;
  return { owner, name, revision, selection };
}

/** A revision is also a path below `refs/`, so it must stay there. */
function isRevision(text: string): boolean {
  return text.split("/").every((part) => part !== "" && part !== "." && part !== "..") && !text.includes("\\");
}

/** The repository alone, as `gpt-oss pull` takes it. Null: a short name of no released model. */
export function repositoryToPull({ owner, name }: RepositoryName): string | null {
  const known = releasedName(owner === null ? name : `${owner}/${name}`);
  if (known !== null) return `openai/${known}`;
  return owner === null ? null : `${owner}/${name}`;
}

/** The same with its revision and its selection, as `gpt-oss pull` takes it. */
export function nameToPull(name: RepositoryName): string | null {
  const repository = repositoryToPull(name);
  if (repository === null) return null;
  const { revision, selection } = name;
  return repository + (revision === null ? "" : `@${revision}`) + (selection === null ? "" : `:${selection}`);
}

/**
 * The repositories that a name can mean, the likeliest first. With an owner: that repository, in any case. Without one:
 * the released model, then all that are called so, with or without `-GGUF` at the end.
 */
export function matchingRepositories(wanted: RepositoryName, repositories: readonly string[]): string[] {
  if (wanted.owner !== null) {
    const whole = `${wanted.owner}/${wanted.name}`;
    if (repositories.includes(whole)) return [whole];
    return repositories.filter((repository) => repository.toLowerCase() === whole.toLowerCase());
  }
  const known = releasedName(wanted.name);
  const name = known ?? wanted.name.toLowerCase();
  const isSame = (repository: string) => {
    const base = path.posix.basename(repository).toLowerCase();
    return base === name || base === `${name}-gguf`;
  };
  const official = `openai/${known}`;
  return repositories
    .filter((repository) => isSame(repository) || repository.toLowerCase() === wanted.name.toLowerCase())
    .sort((a, b) => Number(b.toLowerCase() === official) - Number(a.toLowerCase() === official));
}
