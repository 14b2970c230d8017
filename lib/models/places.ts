import { homedir } from "node:os";
import path from "node:path";
import { isFolder, readText } from "./disk.js";

/** The folders where other programs keep models. They are only read. */
export interface ModelPlaces {
  /** The cache of Hugging Face's libraries. Null: an account without a home. */
  huggingFace: string | null;
  /** LM Studio's folder of models. */
  lmStudio: string | null;
  /** Ollama's folders of models. */
  ollama: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the installer of Ollama for Linux lets its service keep models. */
const ollamaService = "/usr/share/ollama/.ollama/models";

/** The places of this account. */
export async function modelPlaces(env: Environment = process.env): Promise<ModelPlaces> {
  const home = homeFolder();
  return {
    huggingFace: huggingFaceCache(env, home),
    lmStudio: home === null ? null : await lmStudioModels(home),
    ollama: ollamaModels(env, home),
  };
}

/** The folder for caches of this user; native code keeps packed weights in the same one. */
export function userCacheFolder(env: Environment = process.env): string | null {
  const { XDG_CACHE_HOME: xdg } = env;
  if (xdg && path.isAbsolute(xdg)) return path.join(xdg, "gpt-oss-node");
  const home = homeFolder();
  return home === null ? null : path.join(home, ".cache", "gpt-oss-node");
}

export function homeFolder(): string | null {
  try {
    return homedir();
  } catch {
    return null; // an account without a home, as in containers
  }
}

/** The order of `constants.py` in huggingface_hub, which also expands `~` and variables. */
export function huggingFaceCache(env: Environment, home: string | null): string | null {
  const named = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (named) return path.resolve(expanded(named, env, home));
  const folder = huggingFaceHome(env, home);
  return folder === null ? null : path.join(folder, "hub");
}

/** The folder of Hugging Face's tools, which has the token, too. Null: an account without a home. */
export function huggingFaceHome(env: Environment, home: string | null): string | null {
  if (env.HF_HOME) return path.resolve(expanded(env.HF_HOME, env, home));
  const cache = env.XDG_CACHE_HOME || (home === null ? null : path.join(home, ".cache"));
  return cache === null ? null : path.resolve(expanded(cache, env, home), "huggingface");
}

export function expanded(text: string, env: Environment, home: string | null): string {
  const atHome = home !== null && /^~(?=[/\\]|$)/.test(text) ? home + text.slice(1) : text;
  return atHome.replaceAll(/\$(?:(\w+)|\{(\w+)\})/g, (whole, plain, braced) => env[plain ?? braced] ?? whole);
}

/**
 * LM Studio's home is what its pointer file says, else the old folder where it exists, else the new one: the order of
 * `findLMStudioHome.ts` in lmstudio-js. That function then writes the pointer; this one writes nothing. The setting
 * `downloadsFolder` moves the models elsewhere.
 */
export async function lmStudioModels(home: string): Promise<string> {
  const pointer = await readText(path.join(home, ".lmstudio-home-pointer"), 4096);
  const pointed = "text" in pointer ? pointer.text.trim() : "";
  const old = path.join(home, ".cache", "lm-studio");
  const folder = pointed ? path.resolve(home, pointed) : (await isFolder(old)) ? old : path.join(home, ".lmstudio");
  return (await downloadsFolder(folder)) ?? path.join(folder, "models");
}

async function downloadsFolder(lmStudioHome: string): Promise<string | null> {
  const settings = await readText(path.join(lmStudioHome, "settings.json"), 4 * 2 ** 20);
  if (!("text" in settings)) return null;
  try {
    const { downloadsFolder } = JSON.parse(settings.text) as { downloadsFolder?: unknown };
    return typeof downloadsFolder === "string" && path.isAbsolute(downloadsFolder) ? downloadsFolder : null;
  } catch {
    return null; // LM Studio's file, half written
  }
}

/** `ModelsDir` of ollama's `envconfig/config.go`; without the variable also the folder of the installed service. */
export function ollamaModels({ OLLAMA_MODELS }: Environment, home: string | null): string[] {
  const named = OLLAMA_MODELS?.replaceAll(/^["' ]+|["' ]+$/g, "");
  if (named) return [path.resolve(named)];
  return [...(home === null ? [] : [path.join(home, ".ollama", "models")]), ollamaService];
}
