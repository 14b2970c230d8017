import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const algorithm = "aes-256-gcm";
const bytes = { salt: 16, key: 32, nonce: 12, tag: 16 };
/** The first byte of a sealed text: a later form gets another one. */
const form = 1;
/** Maximum characters of a sealed text, several times those of a whole context. Longer ones would take long to open. */
const longest = 4 * 2 ** 20;

/**
 * Encrypts reasoning that a client carries to its next request. Only a server with the same secret can read it, and
 * only for the same tenant. Older secrets still open what they sealed.
 */
export class ReasoningSeal {
  readonly #secrets: readonly string[];
  readonly #purpose: string;

  /** @param secrets at least one; the first one seals */
  constructor(secrets: readonly string[], tenant: string) {
    this.#secrets = secrets;
    this.#purpose = `gpt-oss-node reasoning ${form} ${tenant}`;
  }

  seal(text: string): string {
    const salt = randomBytes(bytes.salt);
    const { key, nonce } = this.#keyOf(this.#secrets[0]!, salt);
    const cipher = createCipheriv(algorithm, key, nonce);
    const sealed = [cipher.update(text, "utf8"), cipher.final()];
    return Buffer.concat([Buffer.of(form), salt, cipher.getAuthTag(), ...sealed]).toString("base64url");
  }

  /** Returns null for a text that was sealed elsewhere, or changed. */
  open(text: string): string | null {
    if (text.length > longest) return null;
    const all = Buffer.from(text, "base64url");
    const at = { tag: 1 + bytes.salt, sealed: 1 + bytes.salt + bytes.tag };
    // Node ignores characters that are not base64url, and so would read a changed text as the original.
    if (all.length < at.sealed || all[0] !== form || all.toString("base64url") !== text) return null;
    const parts = {
      salt: all.subarray(1, at.tag),
      tag: all.subarray(at.tag, at.sealed),
      sealed: all.subarray(at.sealed),
    };
    for (const secret of this.#secrets) {
      const opened = this.#openWith(secret, parts);
      if (opened !== null) return opened;
    }
    return null;
  }

  #openWith(secret: string, { salt, tag, sealed }: { salt: Buffer; tag: Buffer; sealed: Buffer }): string | null {
    const { key, nonce } = this.#keyOf(secret, salt);
    const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: bytes.tag });
    decipher.setAuthTag(tag);
    try {
      return decipher.update(sealed, undefined, "utf8") + decipher.final("utf8");
    } catch {
      return null;
    }
  }

  /** Each text has a key of its own: with one key, random nonces would repeat after some billions of texts. */
  #keyOf(secret: string, salt: Buffer): { key: Buffer; nonce: Buffer } {
    const derived = Buffer.from(hkdfSync("sha256", secret, salt, this.#purpose, bytes.key + bytes.nonce));
    return { key: derived.subarray(0, bytes.key), nonce: derived.subarray(bytes.key) };
  }
}
