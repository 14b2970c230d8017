/** What `pullModel` has put on the disk. */
export interface PulledModel {
  /** The repository, with its owner. */
  repository: string;
  /** The revision that was asked for. */
  revision: string;
  /** The commit that all files are of. */
  commit: string;
  /** The folder with the files of the repository. */
  folder: string;
  /** What to load: the folder, or a `.gguf` file in it. */
  path: string;
  /** The files of the model. */
  files: PulledFile[];
  /** Bytes of all files. */
  totalBytes: number;
  /** Bytes that came over the network now. */
  downloadedBytes: number;
}

/** A file that `pullModel` has put on the disk, or has found there. */
export interface PulledFile {
  /** Its path in the repository. */
  name: string;
  /** Its size in bytes. */
  bytes: number;
  /** The hash that was checked: sha256 of a large file, git's object id (sha1) of a small one. */
  hash: string;
  /**
   * `"present"`: it was there and whole. `"repaired"`: a damaged one was there. `"copied"`: it came from the Hugging Face
   * cache of this machine.
   */
  state: "downloaded" | "present" | "repaired" | "copied";
}
