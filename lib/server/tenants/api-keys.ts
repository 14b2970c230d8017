import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { GptOssError, refusalOf } from "../../errors.js";
import { ApiError } from "../http/errors.js";

const digestOf = (key: string) => createHash("sha256").update(key).digest();
const nameOf = (digest: Buffer) => `key ${digest.toString("hex")}`;

/** Keys that can follow "Bearer " in a header: printable ASCII without blanks, of limited length. */
const sendable = /^[!-~]{1,4096}$/;
const howSendable = "a key is 1 to 4096 printable ASCII characters without blanks";

/** Returns the key of an Authorization header. */
export function bearerKey(authorization: string | undefined): string | null {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? "")?.[1] ?? null;
}

/** The keys that admit a client. Only their digests are stored. */
export class ApiKeys {
  readonly #source: readonly string[] | { file: string };
  #digests: Buffer[] = [];

  /**
   * @throws GptOssError INVALID_ARGUMENT when the file cannot be read or has no key. Also for a key that a client could
   *   not send; the error names its line or index.
   */
  constructor(source: readonly string[] | { file: string }) {
    this.#source = source;
    this.reload();
  }

  /** Reads the file again and returns the number of keys. On failure the keys stay unchanged. */
  reload(): number {
    const keys = "file" in this.#source ? keysOf(this.#source.file) : checked(this.#source);
    this.#digests = keys.map(digestOf);
    return keys.length;
  }

  /** The name of each key, as `identify` returns it. */
  get names(): ReadonlySet<string> {
    return new Set(this.#digests.map(nameOf));
  }

  /**
   * Returns the client's name, which reveals nothing about its key; null: the key is unknown.
   *
   * @throws ApiError 401 without a key.
   */
  identify(authorization: string | undefined): string | null {
    const key = bearerKey(authorization);
    if (key === null) {
      throw new ApiError(401, "Expected an API key in the header: Authorization: Bearer KEY", {
        code: "invalid_api_key",
      });
    }
    const digest = digestOf(key);
    // Compares every key, each in constant time, so that the duration reveals nothing.
    let known = false;
    for (const candidate of this.#digests) known = timingSafeEqual(candidate, digest) || known;
    return known ? nameOf(digest) : null;
  }
}

function checked(keys: readonly string[]): readonly string[] {
  const index = keys.findIndex((key) => !sendable.test(key));
  if (index < 0) return keys;
  const field = `apiKeys[${index}]`;
  throw new GptOssError("INVALID_ARGUMENT", `${field} could not be sent in a header: ${howSendable}`, { field });
}

const ofFile = "apiKeys.file";

/** Reads one key per line, without empty lines and lines that begin with #. Errors name a line, but not its content. */
function keysOf(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new GptOssError(
      refusalOf(cause) ?? "INVALID_ARGUMENT",
      `The file of API keys cannot be read: ${(cause as Error).message}`,
      { cause, field: ofFile },
    );
  }
  const keys: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const key = line.trim();
    if (key === "" || key.startsWith("#")) continue;
    if (!sendable.test(key)) {
      const where = `Line ${index + 1} of the file of API keys ${file}`;
      const message = `${where} could not be sent in a header: ${howSendable}`;
      throw new GptOssError("INVALID_ARGUMENT", message, { field: ofFile });
    }
    keys.push(key);
  }
  if (keys.length === 0) {
    throw new GptOssError("INVALID_ARGUMENT", `The file of API keys ${file} has no keys`, { field: ofFile });
  }
  return keys;
}
