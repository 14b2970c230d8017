import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";

/** A Hugging Face hub on this machine: its API, and a second port that has the large files as the hub's CDN does. */

export interface FakeFile {
  bytes: Buffer;
  /** Large files are stored by their sha256, and come from the second port. */
  isLarge: boolean;
}

export interface FakeRepository {
  commit: string;
  files: Record<string, FakeFile>;
  /** Branches and tags; `main` is there always. */
  revisions?: Record<string, string>;
}

/** What the server of files does wrong with one answer. */
export interface Fault {
  /** Sends so many bytes and ends the connection. */
  cutAfter?: number;
  /** Sends so many bytes and then nothing more. */
  stallAfter?: number;
  /** Sends so many bytes every 20 ms. */
  drip?: number;
  /** Changes this byte of the file. */
  flip?: number;
  /** Sends so many bytes more than it should, without a Content-Length. */
  extra?: number;
  /** Sends so many bytes less than it should, and ends properly, without a Content-Length. */
  fewer?: number;
  /** Says that the file has this size. */
  total?: number;
  /** Says that this range comes. */
  contentRange?: string;
  /** Knows no ranges. */
  noRanges?: boolean;
  etag?: string;
  status?: number;
  headers?: Record<string, string>;
  body?: string;
}

export interface Seen {
  host: "hub" | "files";
  url: string;
  range: string | undefined;
  authorization: string | undefined;
}

export const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Buffer) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

export function hashOf({ bytes, isLarge }: FakeFile): string {
  return isLarge ? sha256(bytes) : gitSha1(bytes);
}

export class FakeHub {
  readonly repositories = new Map<string, FakeRepository>();
  readonly seen: Seen[] = [];
  /** Asked for each answer with the bytes of a file. `count`: how many answers there were before. */
  fault: (request: { name: string; range: string | undefined; count: number }) => Fault | undefined = () => undefined;
  /** Asked for each request of the hub's own port: it can answer itself. */
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  /** Where large files are; default: the second port. */
  locationOf: ((name: string, hash: string) => string) | null = null;
  pageLength = 3;
  #served = 0;
  readonly #hub: Server;
  readonly #files: Server;

  readonly #isSecure: boolean;

  private constructor(certificate?: { cert: string; key: string }) {
    const answer = (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response);
    this.#isSecure = certificate !== undefined;
    this.#hub = certificate === undefined ? createServer(answer) : createSecureServer(certificate, answer);
    this.#files = createServer((request, response) => this.#answerFile(request, response));
  }

  /** @param certificate the hub's own port speaks https with it; that of the large files never does */
  static async start(certificate?: { cert: string; key: string }): Promise<FakeHub> {
    const hub = new FakeHub(certificate);
    for (const server of [hub.#hub, hub.#files]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return hub;
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#files]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  get endpoint(): string {
    const { port } = this.#hub.address() as AddressInfo;
    return this.#isSecure ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
  }

  get filesOrigin(): string {
    return `http://127.0.0.1:${(this.#files.address() as AddressInfo).port}`;
  }

  /** Bytes of files that were asked for, by the ranges. */
  get requestedRanges(): string[] {
    return this.seen.filter(({ host }) => host === "files").map(({ range }) => range ?? "all");
  }

  add(name: string, files: Record<string, FakeFile | string>, commit = sha1Of(name)): FakeRepository {
    const all = Object.entries(files).map(([file, content]) => [
      file,
      typeof content === "string" ? { bytes: Buffer.from(content), isLarge: false } : content,
    ]);
    const repository = { commit, files: Object.fromEntries(all) as Record<string, FakeFile> };
    this.repositories.set(name, repository);
    return repository;
  }

  #answer(request: IncomingMessage, response: ServerResponse): unknown {
    const { pathname, searchParams } = new URL(request.url!, this.endpoint);
    this.#log("hub", request);
    if (this.intercept(request, response)) return;
    const [, name = "", kind, revision = "", file] =
      /^\/(?:api\/models\/)?([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^/]+)(?:\/(.*))?$/.exec(pathname) ?? [];
    const repository = this.repositories.get(name);
    if (repository === undefined) return refuse(response, 404, "RepoNotFound", "Repository not found");
    const { commit, files, revisions = {} } = repository;
    const wanted = decodeURIComponent(revision);
    if (![commit, "main", ...Object.keys(revisions)].includes(wanted)) {
      return refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${wanted}`);
    }
    const sha = revisions[wanted] ?? commit;
    if (kind === "revision")
      return json(response, { _id: "1", id: name, sha, private: false, lastModified: new Date(0) });
    if (kind === "tree") return this.#tree(response, repository, name, Number(searchParams.get("cursor") ?? 0));
    const path = decodeURIComponent(file ?? "");
    const found = files[path];
    if (found === undefined) return refuse(response, 404, "EntryNotFound", "Entry not found");
    const hash = hashOf(found);
    const head = { "x-repo-commit": sha, "x-linked-etag": `"${hash}"`, "x-linked-size": String(found.bytes.length) };
    if (found.isLarge) {
      const location = this.locationOf?.(path, hash) ?? `${this.filesOrigin}/${name}/${path}?signature=1`;
      response.writeHead(302, { ...head, location }).end();
    } else {
      this.#send(request, response, path, found, { ...head, etag: `"${hash}"` });
    }
  }

  #tree(response: ServerResponse, { commit, files }: FakeRepository, name: string, from: number): void {
    const entries = Object.entries(files).map(([path, { bytes, isLarge }]) => ({
      type: "file",
      path,
      size: bytes.length,
      oid: gitSha1(isLarge ? Buffer.from("pointer") : bytes),
      ...(isLarge && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }),
    }));
    const to = from + this.pageLength;
    const next = `<${this.endpoint}/api/models/${name}/tree/${commit}?recursive=true&cursor=${to}>; rel="next"`;
    json(response, entries.slice(from, to), to < entries.length ? { link: next } : {});
  }

  #answerFile(request: IncomingMessage, response: ServerResponse): void {
    this.#log("files", request);
    const { pathname } = new URL(request.url!, this.endpoint);
    const [owner, repository, ...path] = decodeURIComponent(pathname.slice(1)).split("/");
    const name = path.join("/");
    const found = this.repositories.get(`${owner}/${repository}`)?.files[name];
    if (found === undefined) response.writeHead(403).end();
    else this.#send(request, response, name, found, { etag: '"version-1"' });
  }

  #send(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    { bytes: right }: FakeFile,
    head: Record<string, string>,
  ): void {
    const { range } = request.headers;
    const fault = this.fault({ name, range, count: this.#served++ }) ?? {};
    if (fault.status !== undefined) {
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    }
    const bytes = fault.flip === undefined ? right : Buffer.from(right);
    if (fault.flip !== undefined) bytes[fault.flip]! ^= 1;
    const match = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
    const isRange = match !== null && !fault.noRanges;
    const start = isRange ? Number(match[1]) : 0;
    const end = isRange && match[2] !== "" ? Math.min(Number(match[2]) + 1, bytes.length) : bytes.length;
    const part = bytes.subarray(start, end);
    const total = fault.total ?? bytes.length;
    const isLying = fault.extra !== undefined || fault.fewer !== undefined;
    response.writeHead(isRange ? 206 : 200, {
      ...head,
      ...(fault.etag !== undefined && { etag: fault.etag }),
      ...(isRange && { "content-range": fault.contentRange ?? `bytes ${start}-${end - 1}/${total}` }),
      ...(!isLying && { "content-length": isRange ? part.length : total }),
      ...fault.headers,
    });
    if (fault.cutAfter !== undefined) {
      response.write(part.subarray(0, fault.cutAfter), () => response.destroy());
    } else if (fault.stallAfter !== undefined) {
      response.write(part.subarray(0, fault.stallAfter));
    } else if (fault.drip !== undefined) {
      drip(response, part, fault.drip);
    } else {
      response.end(Buffer.concat([part.subarray(0, part.length - (fault.fewer ?? 0)), Buffer.alloc(fault.extra ?? 0)]));
    }
  }

  #log(host: Seen["host"], { url, headers }: IncomingMessage): void {
    this.seen.push({ host, url: url!, range: headers.range, authorization: headers.authorization });
  }
}

/** Sends a body in pieces of so many bytes, one every 20 ms. */
export function drip(response: ServerResponse, body: Buffer, bytes: number): void {
  let at = 0;
  const timer = setInterval(() => {
    response.write(body.subarray(at, at + bytes));
    at += bytes;
    if (at >= body.length) response.end();
  }, 20);
  response.on("close", () => clearInterval(timer));
  response.on("finish", () => clearInterval(timer));
}

export function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  json(response, { error: message }, { "x-error-code": code, "x-error-message": message }, status);
}

function json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}, status = 200): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
}

function sha1Of(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}
