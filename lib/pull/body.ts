import type { Readable } from "node:stream";
import { downloadError, TemporaryFailure } from "./failure.js";
import { networkFailure } from "./network-failure.js";

/** The bodies of answers. */

export type Chunks = AsyncIterable<Buffer>;

/** At less than this, the 20b takes 20 days on eight connections; another try can reach a better host. */
const leastBytesPerSecond = 1000;

/**
 * The bytes of a body. A connection that breaks is a failure that a further try can repair; an error of the disk is not.
 * So is a host that sends next to nothing: a byte now and then would keep a connection open forever.
 *
 * @param stallMilliseconds the time over which the rate is taken; time that the caller spends with a chunk does not count
 */
export async function* chunksOf(body: Readable, host: string, stallMilliseconds: number): AsyncGenerator<Buffer> {
  const chunks = body[Symbol.asyncIterator]();
  let waited = 0;
  let bytes = 0;
  try {
    for (;;) {
      const begun = performance.now();
      const next = await chunks.next().catch((error: unknown) => {
        throw networkFailure(error, host);
      });
      if (next.done) return;
      const chunk = next.value as Buffer;
      waited += performance.now() - begun;
      bytes += chunk.length;
      yield chunk;
      if (waited < stallMilliseconds) continue;
      if (bytes < (leastBytesPerSecond * waited) / 1000) {
        throw new TemporaryFailure(`${host} sent less than ${leastBytesPerSecond} bytes a second for too long`);
      }
      [waited, bytes] = [0, 0];
    }
  } finally {
    drop(body); // the reader has all, or wants no more
  }
}

/** Reads a body as text. @throws GptOssError DOWNLOAD for more than `mostBytes` */
export async function readText(chunks: Chunks, mostBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    bytes += chunk.length;
    if (bytes > mostBytes) throw downloadError(`the answer is longer than ${mostBytes} bytes`);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** Ends a body that nobody reads. */
export function drop(body: Readable): void {
  body.on("error", () => {});
  body.destroy();
}
