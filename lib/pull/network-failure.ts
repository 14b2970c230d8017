import { downloadError, TemporaryFailure } from "./failure.js";

/** What went wrong with a connection or a body. `withTries` knows an abort by its signal. */
export function networkFailure(error: unknown, host: string, hasProxy = false): Error {
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (/CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) {
    return downloadError(
      `${host} has no valid certificate (${code}); NODE_EXTRA_CA_CERTS names a file with further ones`,
      error,
    );
  }
  if (code === "ENOTFOUND")
    return new TemporaryFailure(`no host ${host} is known here (check the network, HF_ENDPOINT or HTTPS_PROXY)`, {
      cause: error,
    });
  if (/TIMEOUT/.test(code)) return new TemporaryFailure(`${host} sent nothing for too long`, { cause: error });
  const reason = /^E[A-Z]+$/.test(code) ? code : message;
  const proxy = hasProxy ? ", perhaps to the proxy of HTTP_PROXY or HTTPS_PROXY" : "";
  return new TemporaryFailure(`the connection to ${host} failed (${reason}${proxy})`, { cause: error });
}
