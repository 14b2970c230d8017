import type { FastifyInstance } from "fastify";

/** Listens, and returns the URL under which it does. @throws Error with one sentence that says what to do. */
export async function listen(app: FastifyInstance, host: string, port: number): Promise<string> {
  try {
    return await app.listen({ host, port });
  } catch (error) {
    throw explained(error as NodeJS.ErrnoException, host, port);
  }
}

function explained(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const sentences: Record<string, string> = {
    EADDRINUSE: `Port ${port} of ${host} is in use; choose another with --port, or 0 for a free one`,
    EACCES: `Port ${port} is reserved for the administrator; choose one above 1023 with --port`,
    EADDRNOTAVAIL: `This machine has no address ${host}; --host 0.0.0.0 listens on all its addresses`,
    ENOTFOUND: `There is no host named ${host}; see --host`,
  };
  const sentence = sentences[error.code ?? ""];
  return sentence === undefined ? error : Object.assign(new Error(sentence, { cause: error }), { code: error.code });
}

/** Whether only programs of this machine can reach the address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
