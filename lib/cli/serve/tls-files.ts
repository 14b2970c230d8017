import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { GptOssError, refusalOf } from "../../errors.js";
import type { ServerOptions } from "../../server/index.js";

/**
 * Reads the certificate and its key, and checks that they fit each other.
 *
 * @throws GptOssError RESOURCE_LIMIT or OUT_OF_MEMORY when the system refuses to open them; else an Error with the code of
 *   what is wrong with them
 */
export function readTls(certificate: string, key: string): NonNullable<ServerOptions["tls"]> {
  try {
    const tls = { cert: readFileSync(certificate), key: readFileSync(key) };
    createSecureContext(tls);
    return tls;
  } catch (cause) {
    const { message: reason, code } = cause as NodeJS.ErrnoException;
    const message = `The certificate ${certificate} with the key ${key} cannot be used: ${reason}`;
    const refusal = refusalOf(cause);
    if (refusal !== undefined) throw new GptOssError(refusal, message, { cause });
    throw Object.assign(new Error(message), { code });
  }
}
