import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";

/** A server that speaks OpenAI's API and is not ours: it lists two models, and a test writes its answers. */

/** @param count of the requests so far, this one included */
export type Handler = (body: Record<string, unknown>, response: http.ServerResponse, count: number) => void;

export class OtherServer {
  readonly url: string;
  /** The requests so far. */
  readonly seen: { url: string; headers: http.IncomingHttpHeaders; body: Record<string, unknown> }[] = [];
  /** Every connection so far. */
  readonly connections = new Set<Socket>();
  readonly #server: http.Server;

  private constructor(server: http.Server, handler: Handler) {
    this.#server = server;
    const origin = server instanceof https.Server ? "https://localhost" : "http://127.0.0.1";
    this.url = `${origin}:${(server.address() as AddressInfo).port}`;
    server.on("connection", (socket) => this.connections.add(socket));
    server.on("request", (request, response) => this.#answer(request, response, handler));
  }

  /** @param certificate for TLS; absent: plain HTTP */
  static async start(handler: Handler, certificate?: { cert: string; key: string }): Promise<OtherServer> {
    const server = certificate === undefined ? http.createServer() : https.createServer(certificate);
    await once(server.listen(0, "127.0.0.1"), "listening");
    return new OtherServer(server, handler);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse, handler: Handler): Promise<void> {
    if (request.method === "GET") {
      response.setHeader("content-type", "application/json; charset=utf-8");
      response.end('{"object":"list","data":[{"id":"other"},{"id":"second"}]}');
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
    this.seen.push({ url: request.url!, headers: request.headers, body });
    handler(body, response, this.seen.length);
  }
}

export const event = (text: string) => `data: ${JSON.stringify({ choices: [{ delta: { content: text } }] })}\n\n`;
export const finish = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n';
export const usage = 'data: {"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":4}}\n\n';
export const done = "data: [DONE]\n\n";

/** Begins an event stream. */
export function stream(response: http.ServerResponse, ...pieces: string[]): http.ServerResponse {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const piece of pieces) response.write(piece);
  return response;
}
