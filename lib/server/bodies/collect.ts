import type { Readable } from "node:stream";
import { ApiError } from "../http/errors.js";

/**
 * The bytes of a request's body, in the chunks in which they arrived: joining many megabytes would block the event
 * loop.
 */
export interface RawBody {
  chunks: Uint8Array<ArrayBuffer>[];
  length: number;
}

/**
 * Returns undefined when there is no body. An empty body counts as none: clients send `content-type` with every POST.
 *
 * @throws ApiError 413 as soon as the body is known to have more than `limit` bytes
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
      end(() => reject(new ApiError(400, "The body of the request is incomplete", { cause })));
    payload.on("data", onData).on("end", onEnd).on("error", onError).resume();
  });
}

/** Joins the chunks of a small body. */
export function joined({ chunks, length }: RawBody): Buffer {
  return Buffer.concat(chunks, length);
}

/**
 * The chunks as buffers that can be transferred to another thread without a copy: each is the only user of its memory.
 */
export function owned({ chunks }: RawBody): Uint8Array<ArrayBuffer>[] {
  return chunks.map((chunk) => (chunk.byteLength === chunk.buffer.byteLength ? chunk : new Uint8Array(chunk)));
}

function tooLarge(): ApiError {
  const message = "The body of the request is larger than this server takes";
  return new ApiError(413, message, { code: "request_too_large" });
}
