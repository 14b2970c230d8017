import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { GptOssError, refusalOf } from "../../errors.js";
import { ApiError } from "../http/errors.js";

const digestOf = (key: string) => createHash("sha256").update(key).digest();
const nameOf = (digest: Buffer) => `key ${digest.toString("hex")}`;

/** What a header can hold beside "Bearer ": printable ASCII without blanks, and not without end. */
const sendable = /^[!-~]{1,4096}$/;
const howSendable = "a key is 1 to 4096 printable ASCII characters without blanks";

/** The key that a header has. */
export function bearerKey(authorization: string | undefined): string | null {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? "")?.[1] ?? null;
}

/** The keys that let a client in. Only their digests are kept. */
export class ApiKeys {
  readonly #source: readonly string[] | { file: string };
  #digests: Buffer[] = [];

  /**
   * @throws GptOssError INVALID_ARGUMENT when the file cannot be read or holds no key, and for a key that no client could
   *   send, by its line or index.
   */
  constructor(source: readonly string[] | { file: string }) {
    this.#source = source;
    this.reload();
  }

  /** Reads the file again; the keys stay as they are when that fails. Returns how many there are. */
  reload(): number {
    const keys = "file" in this.#source ? keysOf(this.#source.file) : checked(this.#source);
    this.#digests = keys.map(digestOf);
    return keys.length;
  }

  /** Of each key, as `identify` tells it. */
  get names(): ReadonlySet<string> {
    return new Set(this.#digests.map(nameOf));
  }

  /**
   * Who asks, as a name that gives nothing of the key away; null: a key that is not known.
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
    // Every key is compared, each in constant time: how long it takes tells nothing.
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

/** One key per line; empty lines and those that begin with # do not count. Errors name a line, and nothing of it. */
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
    throw new GptOssError("INVALID_ARGUMENT", `The file of API keys ${file} holds none`, { field: ofFile });
  }
  return keys;
}
