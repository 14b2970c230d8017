import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { packageVersion } from "../version.js";
import { type Chunks, chunksOf, drop, readText } from "./body.js";
import { downloadError, Refusal, TemporaryFailure } from "./failure.js";
import type { HubSettings } from "./hub-settings.js";
import { networkFailure } from "./network-failure.js";

export interface Answer {
  status: number;
  headers: Readonly<Record<string, string | undefined>>;
  /** The headers of the hub's own answer, where it sent the request on to another place. */
  hubHeaders: Readonly<Record<string, string | undefined>>;
  body: Readable;
  /** The bytes of the body, from a host that keeps sending. */
  chunks: Chunks;
}

export interface ConnectionLimits {
  connections: number;
  /** A connection that brings nothing for this time, or next to nothing, is given up. */
  stallMilliseconds: number;
}

type Undici = Pick<typeof import("undici"), "request" | "Agent" | "EnvHttpProxyAgent">;

const mostRedirects = 5;
const mostMessageBytes = 64 * 1024;

/** Requests to the hub, and to the hosts that it sends them on to. The token goes to the hub alone. */
export class Connection {
  readonly #settings: HubSettings;
  readonly #dispatcher: Dispatcher;
  readonly #request: Undici["request"];
  readonly #stallMilliseconds: number;

  private constructor(settings: HubSettings, undici: Undici, limits: ConnectionLimits) {
    const { connections, stallMilliseconds } = limits;
    const timeouts = { headersTimeout: stallMilliseconds, bodyTimeout: stallMilliseconds };
    // A few more connections than ranges: the hub and the host with the files are two origins.
    const options = { ...timeouts, connections: connections + 2, connect: { timeout: stallMilliseconds } };
    this.#settings = settings;
    this.#request = undici.request;
    this.#stallMilliseconds = stallMilliseconds;
    this.#dispatcher =
      settings.proxies === null
        ? new undici.Agent(options)
        : withoutWarning("UNDICI-EHPA", () => new undici.EnvHttpProxyAgent({ ...options, ...settings.proxies }));
  }

  /** Loads the HTTP client only when something is downloaded. */
  static async open(settings: HubSettings, limits: ConnectionLimits): Promise<Connection> {
    return new Connection(settings, await import("undici"), limits);
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  /**
   * Asks for a URL and follows redirects.
   *
   * @throws TemporaryFailure, Refusal, or GptOssError DOWNLOAD for what no further try repairs
   */
  async get(address: string, headers: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    let url = new URL(address);
    let hubHeaders: Answer["headers"] | null = null;
    for (let redirects = 0; ; redirects++) {
      this.#refuseInsecure(url);
      const answer = await this.#send(url, headers, signal);
      const head = flat(answer.headers);
      hubHeaders ??= head;
      const { location } = head;
      if (answer.statusCode < 300 || answer.statusCode > 399) {
        const chunks = chunksOf(answer.body, url.host, this.#stallMilliseconds);
        const whole = { status: answer.statusCode, headers: head, hubHeaders, body: answer.body, chunks };
        if (answer.statusCode >= 400) throw await this.#failure(whole, url);
        return whole;
      }
      drop(answer.body);
      if (location === undefined || !URL.canParse(location, url.href)) {
        throw downloadError(`${url.host} sent a redirect (${answer.statusCode}) that leads nowhere`);
      }
      if (redirects >= mostRedirects) throw downloadError(`${url.host} sent more than ${mostRedirects} redirects`);
      url = new URL(location, url);
    }
  }

  /** A redirect to http would let anybody on the way read and change what comes. */
  #refuseInsecure(url: URL): void {
    const { endpoint } = this.#settings;
    const isAllowed = url.protocol === "https:" || (url.protocol === "http:" && endpoint.startsWith("http:"));
    const to = `the hub leads to ${url.protocol}//${url.host}`;
    if (!isAllowed) throw downloadError(`${to}, which is not encrypted; expected https`);
    if (url.username !== "" || url.password !== "") {
      throw downloadError(`${to} with a name or password in the address; expected none`);
    }
  }

  async #send(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { endpoint, token } = this.#settings;
    const isHub = url.origin === new URL(endpoint).origin;
    try {
      return await this.#request(url.href, {
        dispatcher: this.#dispatcher,
        signal,
        headers: {
          ...headers,
          "user-agent": `gpt-oss-node/${packageVersion()}`,
          "accept-encoding": "identity",
          ...(isHub && token !== null && { authorization: `Bearer ${token}` }),
        },
      });
    } catch (error) {
      throw networkFailure(error, url.host, this.#settings.proxies !== null);
    }
  }

  async #failure({ status, headers, chunks }: Answer, url: URL): Promise<Error> {
    const isHub = url.origin === new URL(this.#settings.endpoint).origin;
    const text = headers["x-error-message"] ?? messageIn(await readText(chunks, mostMessageBytes).catch(() => ""));
    const said = text === "" ? "" : ` (${text})`;
    const isBusy = status >= 500 || [408, 425, 429].includes(status);
    if (isBusy) {
      const message = `${url.host} answered ${status}${said}`;
      return new TemporaryFailure(message, { waitMilliseconds: waitOf(headers) });
    }
    // The address of a file at another host is signed and expires. The hub gives a new one.
    if (!isHub) return new TemporaryFailure(`${url.host} refused it with ${status}`);
    const hadToken = this.#settings.token !== null;
    return new Refusal(status, headers["x-error-code"] ?? "", `${url.host} answered ${status}${said}`, hadToken);
  }
}

function flat(headers: IncomingHttpHeaders): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.toLowerCase(),
      Array.isArray(value) ? value.join(", ") : value,
    ]),
  );
}

/** `Retry-After` in seconds or as a date; or the `t` of the hub's `RateLimit`. */
function waitOf(headers: Answer["headers"]): number | null {
  const after = headers["retry-after"]?.trim();
  if (after !== undefined && /^\d+$/.test(after)) return Number(after) * 1000;
  // Date.parse reads "-5" and "1.5" as dates of 2001. The dates of HTTP begin with the day of the week.
  if (after !== undefined && /^[a-z]{3}/i.test(after) && !Number.isNaN(Date.parse(after)))
    return Math.max(0, Date.parse(after) - Date.now());
  const reset = /;\s*t=(\d+)/.exec(headers.ratelimit ?? "");
  return reset === null ? null : Number(reset[1]) * 1000;
}

/** The sentence in an error's body, at most 200 characters of it. */
function messageIn(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === "string" ? error.slice(0, 200) : "";
  } catch {
    return "";
  }
}

/** undici 6 calls its proxy agent experimental, once and on stderr. Later versions, which need newer Nodes, do not. */
function withoutWarning<T>(code: string, make: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = ((warning: string | Error, options?: { code?: string }) => {
    if (options?.code !== code) emitWarning.call(process, warning, options as object);
  }) as typeof process.emitWarning;
  try {
    return make();
  } finally {
    process.emitWarning = emitWarning;
  }
}
