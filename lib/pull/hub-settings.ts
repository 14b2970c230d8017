import { readFile } from "node:fs/promises";
import path from "node:path";
import { GptOssError } from "../errors.js";
import { expanded, homeFolder, huggingFaceCache, huggingFaceHome } from "../models/index.js";

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

/** The Hugging Face cache. @throws GptOssError INVALID_ARGUMENT for an account without a home, if no variable names it */
export function hubCacheFolder(env: NodeJS.ProcessEnv): string {
  const folder = huggingFaceCache(env, homeFolder());
  if (folder !== null) return folder;
  throw new GptOssError(
    "INVALID_ARGUMENT",
    "This account has no home folder; name the Hugging Face cache with HF_HOME",
  );
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
  const home = homeFolder();
  const file = env.HF_TOKEN_PATH
    ? expanded(env.HF_TOKEN_PATH, env, home)
    : path.join(huggingFaceHome(env, home) ?? "", "token");
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
