import type { Readable } from "node:stream";
import { ApiError } from "../http/errors.js";

/** The bytes of a request's body, in the pieces that they came in: to join many megabytes would hold the event loop. */
export interface RawBody {
  chunks: Uint8Array<ArrayBuffer>[];
  length: number;
}

/**
 * Undefined: there is none. A body that is announced and empty is none: clients send `content-type` with every POST.
 *
 * @throws ApiError 413 for more than `limit` bytes, as soon as that is known
 */
export function collectBody(payload: Readable, announced: number, limit: number): Promise<RawBody | undefined> {
  if (announced > limit) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const body: RawBody = { chunks: [], length: 0 };
    const end = (settle: () => void) => {
      payload.off("data", onData).off("end", onEnd).off("error", onError);
      settle();
    };
    const onData = (chunk: Buffer<ArrayBuffer>) => {
      body.length += chunk.length;
      body.chunks.push(chunk);
      if (body.length > limit) end(() => reject(tooLarge()));
    };
    const onEnd = () => end(() => resolve(body.length === 0 ? undefined : body));
    const onError = (cause: Error) =>
      end(() => reject(new ApiError(400, "The body of the request did not come whole", { cause })));
    payload.on("data", onData).on("end", onEnd).on("error", onError).resume();
  });
}

/** All of a small body. */
export function joined({ chunks, length }: RawBody): Buffer {
  return Buffer.concat(chunks, length);
}

/** Pieces that can be handed to another thread without a copy: each has its memory for itself. */
export function owned({ chunks }: RawBody): Uint8Array<ArrayBuffer>[] {
  return chunks.map((chunk) => (chunk.byteLength === chunk.buffer.byteLength ? chunk : new Uint8Array(chunk)));
}

function tooLarge(): ApiError {
  const message = "The body of the request is larger than this server takes";
  return new ApiError(413, message, { code: "request_too_large" });
}
