import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { GptOssError } from "../errors.js";

/** What the environment says about the hub. The names and their order are those of huggingface_hub (constants.py). */

export interface HubSettings {
  /** The address of the hub, without a slash at its end. */
  endpoint: string;
  token: string | null;
  /** The folder with `models--owner--name`. */
  cacheFolder: string;
  proxies: { httpProxy: string; httpsProxy: string; noProxy: string } | null;
  isOffline: boolean;
}

/** @throws GptOssError INVALID_ARGUMENT for a variable with a value that cannot be used */
export async function hubSettings(env: NodeJS.ProcessEnv): Promise<HubSettings> {
  return {
    endpoint: endpointOf(env.HF_ENDPOINT || "https://huggingface.co"),
    token: await tokenOf(env),
    cacheFolder: hubCacheFolder(env),
    proxies: proxiesOf(env),
    isOffline: /^(1|on|yes|true)$/i.test(env.HF_HUB_OFFLINE ?? ""),
  };
}

/** The Hugging Face cache: `~/.cache/huggingface/hub`, or where its variables say. */
export function hubCacheFolder(env: NodeJS.ProcessEnv): string {
  const given = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  return path.resolve(given ? expanded(given) : path.join(hubHome(env), "hub"));
}

function hubHome(env: NodeJS.ProcessEnv): string {
  if (env.HF_HOME) return expanded(env.HF_HOME);
  return path.join(env.XDG_CACHE_HOME ? expanded(env.XDG_CACHE_HOME) : path.join(homedir(), ".cache"), "huggingface");
}

function expanded(folder: string): string {
  return folder === "~" || folder.startsWith("~/") ? path.join(homedir(), folder.slice(1)) : folder;
}

function endpointOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isUsable =
    url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.search === "" && url.hash === "";
  if (!isUsable) {
    const message = `Expected an http or https address such as https://huggingface.co for HF_ENDPOINT but received ${JSON.stringify(text)}`;
    throw new GptOssError("INVALID_ARGUMENT", message);
  }
  return url.href.replace(/\/+$/, "");
}

/** The message never has the token in it. */
async function tokenOf(env: NodeJS.ProcessEnv): Promise<string | null> {
  const given = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  const file = env.HF_TOKEN_PATH ? expanded(env.HF_TOKEN_PATH) : path.join(hubHome(env), "token");
  const token = (given ?? (await readFile(file, "utf8").catch(() => ""))).trim();
  if (token === "") return null;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  const source = given === undefined ? `the file ${file}` : env.HF_TOKEN ? "HF_TOKEN" : "HUGGING_FACE_HUB_TOKEN";
  throw new GptOssError("INVALID_ARGUMENT", `Expected a token of one line without spaces in ${source}; set it anew`);
}

function proxiesOf(env: NodeJS.ProcessEnv): HubSettings["proxies"] {
  const all = env.all_proxy || env.ALL_PROXY || "";
  const httpProxy = env.http_proxy || env.HTTP_PROXY || all;
  const httpsProxy = env.https_proxy || env.HTTPS_PROXY || all;
  if (httpProxy === "" && httpsProxy === "") return null;
  for (const [name, text] of Object.entries({ HTTP_PROXY: httpProxy, HTTPS_PROXY: httpsProxy })) {
    if (text === "" || (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol))) continue;
    // A proxy's address can hold a password, so the message does not repeat it.
    const message = `Expected an address such as http://proxy:3128 for ${name}; other kinds of proxies are not supported`;
    throw new GptOssError("INVALID_ARGUMENT", message);
  }
  return { httpProxy, httpsProxy, noProxy: env.no_proxy || env.NO_PROXY || "" };
}
