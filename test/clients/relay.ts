import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What a client sent over the wire, and the status that it got. */
export interface Exchange {
  method: string;
  path: string;
  body: string;
  status: number;
}

/**
 * Stands between a client and the server, and notes what passes. It is also the client's proxy for the rest of the
 * world, where it lets nothing through.
 */
export class Relay {
  readonly exchanges: Exchange[] = [];
  /** Hosts that the client wanted to reach besides the server. */
  readonly refused = new Set<string>();
  readonly #server: Server;
  readonly #target: string;

  private constructor(target: string) {
    this.#target = target;
    this.#server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));
    this.#server.on("connect", ({ url }, socket) => {
      this.refused.add(url ?? "");
      socket.on("error", () => {}); // the client may have gone
      socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    });
  }

  /** @param target the address of the server */
  static async start(target: string): Promise<Relay> {
    const relay = new Relay(target);
    await new Promise<void>((resolve) => relay.#server.listen(0, "127.0.0.1", resolve));
    return relay;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = incoming;
    if (!url.startsWith("/")) {
      this.refused.add(url.split("/")[2] ?? url);
      outgoing.writeHead(403).end();
      return;
    }
    const body = Buffer.concat(await incoming.toArray());
    const passed = request(new URL(url, this.#target), { method, headers }, (answer) => {
      const status = answer.statusCode ?? 0;
      this.exchanges.push({ method, path: url, body: body.toString(), status });
      outgoing.writeHead(status, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    passed.end(body);
  }
}
