import type { Algorithm } from "./file-hash.js";

/** A file of a repository, as the hub lists it. */
export interface RemoteFile {
  /** Its path in the repository, checked. */
  name: string;
  size: number;
  /** sha256 of a large file, or git's object id of a small one. It is the name of the file's blob in the cache. */
  hash: string;
  algorithm: Algorithm;
}

/** Where the files of one commit are. */
export interface RemoteSource {
  endpoint: string;
  repository: string;
  commit: string;
}

export function addressOf({ endpoint, repository, commit }: RemoteSource, name: string): string {
  return `${endpoint}/${repository}/resolve/${commit}/${name.split("/").map(encodeURIComponent).join("/")}`;
}
