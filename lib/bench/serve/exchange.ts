import type http from "node:http";
import { abortReason } from "../../common/abort.js";
import { errorText, excerpt, RequestFailure } from "./failure.js";

/** One request and its response. */

export interface ExchangeOptions {
  /** The content type that is expected. */
  type: string;
  /** For the whole response. */
  timeoutMilliseconds: number;
  signal: AbortSignal;
  /**
   * Takes each chunk of the body as it arrives. Returns whether the answer is complete, so that the end of the response
   * is not needed.
   */
  onChunk: (chunk: Buffer) => boolean;
}

/** The server closed a kept connection at the time of the request. That is no failure of the server. */
export class StaleConnection extends Error {}

/** What a server has to end its response after a complete answer. Then its connection can be kept. */
const endMilliseconds = 1000;
const brokenOff = "the connection broke off in the middle of the answer";

/**
 * Sends a request that was made, and resolves at the end of its response.
 *
 * @throws RequestFailure, StaleConnection, or the reason of the signal
 */
export function exchange(
  request: http.ClientRequest,
  body: string | undefined,
  options: ExchangeOptions,
): Promise<void> {
  const { timeoutMilliseconds, signal, onChunk } = options;
  return new Promise((resolve, reject) => {
    let hasResponse = false;
    // Only the first call counts; what follows is the end of a request that was given up.
    const settle = (error?: unknown) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      if (error === undefined) resolve();
      else {
        reject(error);
        request.destroy();
      }
    };
    const fail = (message: string) => settle(new RequestFailure(message));
    const abort = () => settle(abortReason(signal));
    let timer = setTimeout(() => fail(`no whole answer within ${timeoutMilliseconds / 1000} s`), timeoutMilliseconds);
    const endSoon = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        settle();
        request.destroy();
      }, endMilliseconds);
    };
    signal.addEventListener("abort", abort);
    request.on("error", (error: NodeJS.ErrnoException) => {
      const isStale = !hasResponse && request.reusedSocket && /^(ECONNRESET|EPIPE)$/.test(error.code ?? "");
      if (isStale) settle(new StaleConnection());
      else fail(hasResponse ? brokenOff : connectionFailure(error, String(request.getHeader("host"))));
    });
    // Node closes without an error where the server switches to another protocol.
    request.on("close", () => fail(hasResponse ? brokenOff : "the connection was closed without an answer"));
    request.on("response", (response) => {
      hasResponse = true;
      response.on("error", () => fail(brokenOff));
      if (response.statusCode !== 200 || typeOf(response) !== options.type) {
        beginningOf(response, (text) => fail(refusal(response, options.type, text)));
        return;
      }
      let isComplete = false;
      response.on("data", (chunk: Buffer) => {
        if (isComplete) return;
        try {
          isComplete = onChunk(chunk);
        } catch (error) {
          settle(error);
        }
        if (isComplete) endSoon();
      });
      response.on("end", () => settle());
    });
    if (signal.aborted) abort();
    else request.end(body);
  });
}

function connectionFailure({ code, message }: NodeJS.ErrnoException, host: string): string {
  if (code?.startsWith("HPE_")) return `${host} does not answer as HTTP asks (${code})`;
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code ?? ""))
    return `${host} has no valid certificate (${code}); NODE_EXTRA_CA_CERTS names a file with further ones`;
  return `the connection to ${host} failed (${code ?? message})`;
}

function typeOf({ headers }: http.IncomingMessage): string {
  return (headers["content-type"] ?? "").replace(/;.*/, "").trim().toLowerCase();
}

/** Reads some kilobytes of a body that is not wanted. */
function beginningOf(response: http.IncomingMessage, then: (text: string) => void): void {
  let text = "";
  response.setEncoding("utf8");
  response.on("data", (piece: string) => {
    text += piece;
    if (text.length > 8192) then(text);
  });
  response.on("end", () => then(text));
}

function refusal({ statusCode, headers }: http.IncomingMessage, wanted: string, text: string): string {
  if (statusCode !== 200) return `the server answered ${statusCode}: ${bodyText(text)}`;
  const type = headers["content-type"] ?? "none";
  return `expected ${wanted}, but the server answered content-type ${type}: ${excerpt(text)}`;
}

/** The message of an error body, or its beginning. */
function bodyText(text: string): string {
  try {
    const body = JSON.parse(text) as { error?: unknown; message?: unknown; detail?: unknown };
    return errorText(body.error ?? body.message ?? body.detail, text);
  } catch {
    return excerpt(text) || "an empty body";
  }
}
