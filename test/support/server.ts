import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { FastifyInstance } from "fastify";

/** Listens on a free port of this machine, and returns it. */
export async function listening(app: FastifyInstance): Promise<number> {
  await app.listen({ host: "127.0.0.1", port: 0 });
  return (app.server.address() as AddressInfo).port;
}

/** A connection that says exactly what it is told to. */
export async function rawConnection(port: number): Promise<RawConnection> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  return new RawConnection(socket);
}

export class RawConnection {
  readonly socket: Socket;
  /** All that came so far. */
  heard = "";
  readonly closed: Promise<void>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1").on("data", (text: string) => {
      this.heard += text;
    });
    socket.on("error", () => {}); // a reset is an end as any other
    this.closed = new Promise((resolve) => {
      socket.once("end", resolve);
      socket.once("close", resolve);
    });
  }

  say(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Everything that is heard until the other side ends the connection. */
  async all(): Promise<string> {
    await this.closed;
    this.socket.destroy();
    return this.heard;
  }
}
