import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { RunningRequest } from "../operations/drain.js";
import { ApiError } from "./errors.js";

/** The place of each request among the running ones. An app without our drain has none. */
const places = new WeakMap<FastifyRequest, RunningRequest>();

export function setPlace(request: FastifyRequest, place: RunningRequest): void {
  places.set(request, place);
}

/**
 * Calls back once, when the response or its connection has ended. `complete`: the system has taken all of the response.
 */
export function whenOver(reply: FastifyReply, callback: (complete: boolean) => void): void {
  const { raw } = reply;
  const { socket } = reply.request.raw;
  const finished = () => over(true);
  const closed = () => over(raw.writableFinished);
  const over = (complete: boolean) => {
    raw.off("finish", finished);
    raw.off("close", closed);
    forget();
    callback(complete);
  };
  raw.on("finish", finished);
  raw.on("close", closed);
  const forget = onClose(socket, closed);
  if (socket.closed) closed();
}

/** The callbacks of all requests on a connection. They share one listener: one for each request would be too many. */
const atClose = new WeakMap<Socket, Set<() => void>>();

/**
 * Node reports a closed connection only to the first of several pipelined requests. Returns a function that removes the
 * callback.
 */
function onClose(socket: Socket, callback: () => void): () => void {
  let callbacks = atClose.get(socket);
  if (!callbacks) {
    const created = new Set<() => void>();
    socket.once("close", () => {
      for (const callback of [...created]) callback();
    });
    atClose.set(socket, created);
    callbacks = created;
  }
  callbacks.add(callback);
  return () => void callbacks.delete(callback);
}

/**
 * Aborts when the client closes the connection, even if only its own side of it, or when the time for draining is over.
 * Does not abort when the response ends normally.
 *
 * @example
 * ```ts
 * app.post("/ask", async (request, reply) => {
 *   const signal = disconnectSignal(request, reply);
 *   return (await engine.chat(request.body.messages, { signal }).result).content;
 * });
 * ```
 */
export function disconnectSignal(request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const known = signals.get(request);
  if (known !== undefined) return known;
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // every prompt of a request adds a listener
  const gone = () => controller.abort(new ApiError(499, "The client closed the connection"));
  whenOver(reply, (complete) => {
    if (!complete) gone();
  });
  places.get(request)?.onAbort((reason) => controller.abort(reason));
  if (reply.raw.destroyed) gone();
  signals.set(request, controller.signal);
  return controller.signal;
}

/** One signal per request: each one adds listeners to the response. */
const signals = new WeakMap<FastifyRequest, AbortSignal>();
