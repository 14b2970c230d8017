import { GptOssError } from "../errors.js";
import { readText } from "./body.js";
import type { Connection } from "./connection.js";
import { downloadError, type Patience, Refusal, withTries } from "./failure.js";
import { algorithmOf } from "./file-hash.js";
import type { RemoteFile } from "./remote-file.js";
import { refuseUnsafe } from "./safe-names.js";

export interface Listing {
  /** The commit that the revision means now. All files are of it. */
  commit: string;
  files: RemoteFile[];
}

export interface ListingOptions extends Patience {
  connection: Connection;
  endpoint: string;
  repository: string;
  revision: string;
  signal: AbortSignal;
  onPause: (sentence: string) => void;
}

/** A repository with more files is none of a model. */
const mostFiles = 20_000;
const mostPages = 1000;
const mostPageBytes = 64 * 1024 * 1024;

/**
 * Lists a repository at one commit, with the hub's own library.
 *
 * @throws GptOssError MODEL_NOT_FOUND for a repository or revision that does not exist; DOWNLOAD
 */
export async function listRepository(options: ListingOptions): Promise<Listing> {
  const { endpoint, repository, revision } = options;
  const { listFiles, modelInfo } = await import("@huggingface/hub");
  const hub = { hubUrl: endpoint, fetch: hubFetch(options) };
  try {
    const { sha } = await modelInfo({ ...hub, name: repository, revision, additionalFields: ["sha"] });
    if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) throw notAHub(endpoint, "no commit");
    const files: RemoteFile[] = [];
    for await (const entry of listFiles({ ...hub, repo: repository, revision: sha, recursive: true })) {
      if (entry?.type !== "file") continue;
      files.push(remoteFile(entry, endpoint));
      if (files.length > mostFiles)
        throw downloadError(`${repository} has more than ${mostFiles} files, so it is no model`);
    }
    return { commit: sha, files };
  } catch (error) {
    if (error instanceof Refusal) throw refusedRepository(error, repository, revision);
    if (error instanceof SyntaxError || error instanceof TypeError) throw notAHub(endpoint, error.message, error);
    throw error;
  }
}

interface Entry {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string; size: number };
}

function remoteFile({ path: name, size: listed, oid, lfs }: Entry, endpoint: string): RemoteFile {
  const [hash, size] = lfs === undefined ? [oid, listed] : [lfs.oid, lfs.size];
  const algorithm = typeof hash === "string" ? algorithmOf(hash) : null;
  const isUsable = typeof name === "string" && Number.isSafeInteger(size) && size >= 0;
  if (!isUsable || hash === undefined || algorithm === null) {
    throw notAHub(endpoint, `no size or hash for ${JSON.stringify(name)?.slice(0, 100)}`);
  }
  refuseUnsafe(name);
  return { name, size, hash, algorithm };
}

/** The library's requests, with our redirects, tries and limits. The token is the connection's. */
function hubFetch(options: ListingOptions): typeof fetch {
  const { connection, repository, signal, onPause, tries, firstPauseMilliseconds } = options;
  const what = `the list of the files of ${repository}`;
  let pages = 0;
  return async (address) => {
    if (++pages > mostPages) throw downloadError(`${what} has more than ${mostPages} pages`);
    const read = async () => {
      const { status, headers, chunks } = await connection.get(String(address), { accept: "application/json" }, signal);
      const link = headers.link === undefined ? [] : [["link", headers.link] as [string, string]];
      return new Response(await readText(chunks, mostPageBytes), { status, headers: link });
    };
    const told = (sentence: string) => onPause(`${what}: ${sentence}`);
    return withTries(read, { what, signal, onPause: told, tries, firstPauseMilliseconds });
  };
}

function notAHub(endpoint: string, detail: string, cause?: unknown): GptOssError {
  return downloadError(`${endpoint} does not answer as a Hugging Face hub does (${detail}); check HF_ENDPOINT`, cause);
}

/** The hub answers 401 for a repository that does not exist, too: it does not tell strangers which names are private. */
export function refusedRepository(refusal: Refusal, repository: string, revision: string): GptOssError {
  const { status, errorCode, message, hadToken } = refusal;
  const cause = { cause: refusal };
  if (errorCode === "RevisionNotFound") {
    const sentence = `${repository} has no revision ${JSON.stringify(revision)}; name a branch, a tag or a commit of it`;
    return new GptOssError("MODEL_NOT_FOUND", sentence, { ...cause, field: "revision" });
  }
  if (errorCode === "GatedRepo") {
    const sentence = `${repository} is gated: accept its conditions on its page, and set HF_TOKEN to a token of that account`;
    return new GptOssError("DOWNLOAD", sentence, cause);
  }
  if (status === 404) {
    const sentence = `no repository ${repository} exists on the hub`;
    return new GptOssError("MODEL_NOT_FOUND", sentence, { ...cause, field: "repository" });
  }
  if (status === 401) {
    const token = hadToken ? "another token than the one that is set" : "a token";
    const sentence = `${repository} does not exist, or needs ${token}: check the name, or set HF_TOKEN to a valid token`;
    return new GptOssError("DOWNLOAD", sentence, cause);
  }
  if (status === 403) {
    const sentence = hadToken
      ? `${repository} refuses this token: its account has no access, or the token may not read it (${message})`
      : `${repository} is not open to everybody: accept its licence on its page if it has one, and set HF_TOKEN to a token of that account (${message})`;
    return new GptOssError("DOWNLOAD", sentence, cause);
  }
  return downloadError(`${repository}: ${message}`, refusal);
}
