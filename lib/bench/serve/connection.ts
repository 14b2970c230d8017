import http from "node:http";
import https from "node:https";
import { abortReason } from "../../common/abort.js";
import { GptOssError, invalidArgument } from "../../errors.js";
import { type ExchangeOptions, exchange, StaleConnection } from "./exchange.js";
import { RequestFailure } from "./failure.js";

/** A server that speaks OpenAI's API. */
export interface ServerAddress {
  /** The base, with or without `/v1`. */
  url: string;
  /** Sent as a bearer token. */
  apiKey?: string | undefined;
  headers: Record<string, string>;
}

const mostListBytes = 4 * 2 ** 20;
/** What a server has to list its models. */
const listMilliseconds = 30_000;
/** A shorter header is no secret, and may be a part of any word. */
const leastSecret = 8;

/** Connections that are kept between requests, as many as there are requests at once. */
export class Connection {
  /** Without what could be a secret. */
  readonly shownUrl: string;
  readonly #base: URL;
  readonly #headers: Record<string, string>;
  readonly #secrets: string[];
  readonly #agent: http.Agent;
  readonly #timeoutMilliseconds: number;

  /** @throws GptOssError INVALID_ARGUMENT for a wrong URL or header */
  constructor({ url, apiKey, headers }: ServerAddress, timeoutMilliseconds: number) {
    this.#base = baseOf(url);
    this.shownUrl = this.#base.origin + this.#base.pathname;
    this.#headers = { ...checkHeaders(headers), ...(apiKey !== undefined && { authorization: bearer(apiKey) }) };
    const secrets = [apiKey ?? "", this.#base.password, ...Object.values(headers)];
    this.#secrets = secrets.filter(({ length }) => length >= leastSecret);
    const { Agent } = this.#base.protocol === "https:" ? https : http;
    this.#agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 65_536 });
    this.#timeoutMilliseconds = timeoutMilliseconds;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** The name of the first model. @throws GptOssError SERVER, or the reason of the signal */
  async firstModel(signal: AbortSignal): Promise<string> {
    const asked = `${this.shownUrl}/models`;
    let list: unknown;
    try {
      list = JSON.parse(await this.#get("/models", signal));
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      const why = error instanceof RequestFailure ? error.message : "the answer is no JSON";
      throw new GptOssError("SERVER", `${asked} does not list the models of the server: ${why}`, { cause: error });
    }
    const name = (list as { data?: { id?: unknown }[] } | null)?.data?.[0]?.id;
    if (typeof name === "string" && name !== "") return name;
    throw new GptOssError("SERVER", `${asked} lists no model; name one with --model`);
  }

  /**
   * Sends a request and gives each chunk of the event stream as it arrives. Resolves at the end of the response.
   *
   * @param onChunk returns whether the answer is complete
   * @throws RequestFailure, or the reason of the signal
   */
  stream(path: string, body: string, signal: AbortSignal, onChunk: ExchangeOptions["onChunk"]): Promise<void> {
    const timeoutMilliseconds = this.#timeoutMilliseconds;
    return this.#exchange("POST", path, body, { type: "text/event-stream", timeoutMilliseconds, signal, onChunk });
  }

  async #get(path: string, signal: AbortSignal): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const onChunk = (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > mostListBytes) throw new RequestFailure(`the answer has more than ${mostListBytes} bytes`);
      return false;
    };
    const timeoutMilliseconds = Math.min(this.#timeoutMilliseconds, listMilliseconds);
    await this.#exchange("GET", path, undefined, { type: "application/json", timeoutMilliseconds, signal, onChunk });
    return Buffer.concat(chunks).toString();
  }

  async #exchange(method: string, path: string, body: string | undefined, options: ExchangeOptions): Promise<void> {
    for (;;) {
      try {
        return await exchange(this.#request(method, path, body, options.type), body, options);
      } catch (error) {
        if (error instanceof StaleConnection) continue;
        throw error instanceof RequestFailure ? new RequestFailure(this.#withoutSecrets(error.message)) : error;
      }
    }
  }

  #request(method: string, path: string, body: string | undefined, accept: string): http.ClientRequest {
    const url = new URL(this.#base);
    url.pathname += path;
    const content = { "content-type": "application/json", "content-length": Buffer.byteLength(body ?? "") };
    const headers = { accept, ...(body !== undefined && content), ...this.#headers };
    return (url.protocol === "https:" ? https : http).request(url, { agent: this.#agent, method, headers });
  }

  /** A server may repeat a wrong key in its error. */
  #withoutSecrets(text: string): string {
    return this.#secrets.reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
  }
}

function baseOf(url: string): URL {
  const base = URL.canParse(url) ? new URL(url) : null;
  if (base === null || !/^https?:$/.test(base.protocol))
    throw invalidArgument("url", "a URL such as http://127.0.0.1:8080", url);
  base.hash = "";
  const path = base.pathname.replace(/\/+$/, "");
  base.pathname = path.endsWith("/v1") ? path : `${path}/v1`;
  return base;
}

function bearer(key: string): string {
  try {
    http.validateHeaderValue("authorization", key);
  } catch {
    const message = "The API key has a character that no HTTP header can have";
    throw new GptOssError("INVALID_ARGUMENT", message, { field: "apiKey" });
  }
  return `Bearer ${key}`;
}

function checkHeaders(headers: Record<string, string>): Record<string, string> {
  const entries = Object.entries(headers).map(([name, value]): [string, string] => {
    try {
      http.validateHeaderName(name);
      http.validateHeaderValue(name, value);
    } catch {
      // The value may be a secret.
      throw invalidArgument("a header", "a name and a value that HTTP allows", name, "headers");
    }
    return [name.toLowerCase(), value];
  });
  return Object.fromEntries(entries);
}
