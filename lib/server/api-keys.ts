import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { GptOssError } from "../errors.js";
import { ApiError } from "./errors.js";

const digestOf = (key: string) => createHash("sha256").update(key).digest();

/** The keys that let a client in. Only their digests are kept. */
export class ApiKeys {
  readonly #source: readonly string[] | { file: string };
  #digests: Buffer[] = [];

  /** @throws GptOssError INVALID_ARGUMENT when the file cannot be read or holds no key. */
  constructor(source: readonly string[] | { file: string }) {
    this.#source = source;
    this.reload();
  }

  /** Reads the file again; the keys stay as they are when that fails. Returns how many there are. */
  reload(): number {
    const keys = "file" in this.#source ? keysOf(this.#source.file) : this.#source;
    this.#digests = keys.map(digestOf);
    return keys.length;
  }

  /**
   * Who asks, as a name that gives nothing of the key away.
   *
   * @throws ApiError 401 without a key, or with one that is not known.
   */
  identify(authorization: string | undefined): string {
    const [, key] = /^Bearer +(\S+) *$/i.exec(authorization ?? "") ?? [];
    if (key === undefined) {
      throw new ApiError(401, "Expected an API key in the header: Authorization: Bearer KEY", {
        code: "invalid_api_key",
      });
    }
    const digest = digestOf(key);
    // Every key is compared, each in constant time: how long it takes tells nothing.
    let known = false;
    for (const candidate of this.#digests) known = timingSafeEqual(candidate, digest) || known;
    if (!known) throw new ApiError(401, "This API key is not known here", { code: "invalid_api_key" });
    return `key ${digest.toString("hex", 0, 6)}`;
  }
}

/** One key per line; empty lines and those that begin with # do not count. */
function keysOf(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new GptOssError("INVALID_ARGUMENT", `The file of API keys cannot be read: ${(cause as Error).message}`, {
      cause,
    });
  }
  const keys = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length === 0) throw new GptOssError("INVALID_ARGUMENT", `The file of API keys ${file} holds none`);
  if (keys.some((key) => /\s/.test(key))) {
    throw new GptOssError("INVALID_ARGUMENT", `The file of API keys ${file} has a line with more than one word`);
  }
  return keys;
}
