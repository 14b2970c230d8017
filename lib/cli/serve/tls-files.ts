import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { GptOssError, refusalOf } from "../../errors.js";
import type { ServerOptions } from "../../server/index.js";

/**
 * Reads the certificate and its key, and checks that they fit each other.
 *
 * @throws GptOssError INVALID_ARGUMENT with the option and the file that cannot be used; RESOURCE_LIMIT or OUT_OF_MEMORY
 *   when the system refuses to open them
 */
export function readTls(certificate: string, key: string): NonNullable<ServerOptions["tls"]> {
  const ofCertificate = `The certificate ${certificate} of --tls-cert`;
  const ofKey = `The key ${key} of --tls-key`;
  const cert = usable(ofCertificate, "cannot be read", () => readFileSync(certificate));
  checkContext(ofCertificate, "cannot be used, expected PEM", { cert });
  const tls = { cert, key: usable(ofKey, "cannot be read", () => readFileSync(key)) };
  checkContext(ofKey, "cannot be used, expected PEM without a password", { key: tls.key });
  checkContext(ofKey, `does not fit the certificate ${certificate} of --tls-cert`, tls);
  return tls;
}

function checkContext(subject: string, problem: string, options: SecureContextOptions): void {
  usable(subject, problem, () => createSecureContext(options));
}

function usable<T>(subject: string, problem: string, use: () => T): T {
  try {
    return use();
  } catch (cause) {
    const message = `${subject} ${problem}: ${(cause as Error).message}`;
    throw new GptOssError(refusalOf(cause) ?? "INVALID_ARGUMENT", message, { cause, field: "tls" });
  }
}
