import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const algorithm = "aes-256-gcm";
const bytes = { salt: 16, key: 32, nonce: 12, tag: 16 };
/** The first byte of a sealed text: a later form gets another one. */
const form = 1;
/** Maximum characters of a sealed text, several times those of a whole context. Longer ones would take long to open. */
const longest = 4 * 2 ** 20;

/**
 * Encrypts reasoning that a client carries to its next request. Only a server with the same secret can read it, and
 * only for the same tenant.
 */
export class ReasoningSeal {
  readonly #secret: string;
  readonly #purpose: string;

  constructor(secret: string, tenant: string) {
    this.#secret = secret;
    this.#purpose = `gpt-oss-node reasoning ${form} ${tenant}`;
  }

  seal(text: string): string {
    const salt = randomBytes(bytes.salt);
    const { key, nonce } = this.#keyOf(salt);
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
    const { key, nonce } = this.#keyOf(all.subarray(1, at.tag));
    const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: bytes.tag });
    decipher.setAuthTag(all.subarray(at.tag, at.sealed));
    try {
      return decipher.update(all.subarray(at.sealed), undefined, "utf8") + decipher.final("utf8");
    } catch {
      return null;
    }
  }

  /** Each text has a key of its own: with one key, random nonces would repeat after some billions of texts. */
  #keyOf(salt: Buffer): { key: Buffer; nonce: Buffer } {
    const derived = Buffer.from(hkdfSync("sha256", this.#secret, salt, this.#purpose, bytes.key + bytes.nonce));
    return { key: derived.subarray(0, bytes.key), nonce: derived.subarray(bytes.key) };
  }
}
