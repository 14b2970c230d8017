import path from "node:path";
import { isFile, list } from "./disk.js";

/** A name of Ollama in its parts: `host/namespace/model:tag`, after `types/model/name.go` of ollama. */
export interface OllamaName {
  host: string;
  namespace: string;
  model: string;
  tag: string;
}

/** Ollama's registry has two names: the older one, and the one in `manifests-v2`. */
const registry = "registry.ollama.ai";
const registryV2 = "ollama.com";

const part = /^[A-Za-z0-9_][\w.-]{0,127}$/;
const hostPart = /^[A-Za-z0-9_][\w.-]{0,127}(:\d{1,5})?$/;

/** Reads a name, and fills in what it leaves out. @returns null where it cannot be one */
export function ollamaName(text: string): OllamaName | null {
  const colon = text.lastIndexOf(":");
  const hasTag = colon > text.lastIndexOf("/");
  const tag = hasTag ? text.slice(colon + 1) : "latest";
  const parts = (hasTag ? text.slice(0, colon) : text).split("/");
  const model = parts.pop()!;
  const namespace = parts.pop() ?? "library";
  const host = parts.pop() ?? registry;
  const isName = parts.length === 0 && hostPart.test(host) && [namespace, model, tag].every((each) => part.test(each));
  return isName ? { host: isRegistry(host) ? registry : host, namespace, model, tag } : null;
}

const isRegistry = (host: string) => [registry, registryV2].includes(host.toLowerCase());

/** The shortest text for a name. */
export function shortName({ host, namespace, model, tag }: OllamaName): string {
  if (host !== registry) return `${host}/${namespace}/${model}:${tag}`;
  return namespace === "library" ? `${model}:${tag}` : `${namespace}/${model}:${tag}`;
}

/**
 * The file of a model's manifest. `manifests-v2` is that of Ollama 0.40 and later and comes first, as in
 * `manifest/paths.go`; its links can lead nowhere after an older Ollama has cleaned up, and then the older file counts.
 *
 * @returns null where there is none
 */
export async function manifestOf(models: string, name: OllamaName): Promise<string | null> {
  for (const { folder, host } of hostFolders(models, name.host)) {
    const exact = path.join(folder, host, name.namespace, name.model, name.tag);
    if (await isFile(exact)) return exact;
    const anyCase = await descend(folder, [host, name.namespace, name.model, name.tag]);
    if (anyCase !== null && (await isFile(anyCase))) return anyCase;
  }
  return null;
}

function hostFolders(models: string, host: string): { folder: string; host: string }[] {
  const [v2, v1] = [path.join(models, "manifests-v2"), path.join(models, "manifests")];
  if (host !== registry) {
    return [
      { folder: v2, host: host.replace(":", "%3A") },
      { folder: v1, host },
    ];
  }
  return [
    { folder: v2, host: registryV2 },
    { folder: v2, host: registry },
    { folder: v1, host: registry },
    { folder: v1, host: registryV2 },
  ];
}

/** Names are the same in any case, but folders have the case of the first download. */
async function descend(folder: string, names: readonly string[]): Promise<string | null> {
  let at = folder;
  for (const name of names) {
    const found = (await list(at)).names.find((each) => each.toLowerCase() === name.toLowerCase());
    if (found === undefined) return null;
    at = path.join(at, found);
  }
  return at;
}

/** All named manifests of a folder of models, each once. */
export async function allManifests(models: string): Promise<{ name: OllamaName; manifest: string }[]> {
  const found = new Map<string, { name: OllamaName; manifest: string }>();
  for (const version of ["manifests-v2", "manifests"]) {
    const root = path.join(models, version);
    for (const [host, namespace, model, tag] of await fourLevels(root)) {
      const name = ollamaName(`${host!.replace(/%3a/i, ":")}/${namespace}/${model}:${tag}`);
      const manifest = path.join(root, host!, namespace!, model!, tag!);
      if (name === null || found.has(shortName(name)) || !(await isFile(manifest))) continue;
      found.set(shortName(name), { name, manifest });
    }
  }
  return [...found.values()];
}

const mostManifests = 1024;

async function fourLevels(root: string): Promise<string[][]> {
  let paths: string[][] = [[]];
  for (let level = 0; level < 4; level++) {
    const next: string[][] = [];
    for (const parts of paths) {
      const { names } = await list(path.join(root, ...parts));
      next.push(...names.filter((name) => !name.startsWith(".")).map((name) => [...parts, name]));
      if (next.length >= mostManifests) break;
    }
    paths = next.slice(0, mostManifests);
  }
  return paths;
}
