import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { RunningRequest } from "../operations/drain.js";
import { ApiError } from "./errors.js";

/** The place of each request among those that run; there is none where no server of ours keeps count. */
const places = new WeakMap<FastifyRequest, RunningRequest>();

export function setPlace(request: FastifyRequest, place: RunningRequest): void {
  places.set(request, place);
}

/** Calls back once, when a response has ended or its connection has; `complete`: all of it was handed to the system. */
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

/** What is to be done when a connection closes, for all of its requests: a listener each would be too many. */
const atClose = new WeakMap<Socket, Set<() => void>>();

/**
 * Of requests that were sent on one connection without waiting, Node tells only the first that the connection has closed.
 * Returns what takes the callback back.
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
 * Aborts when nobody waits for the answer any more: its connection was closed, even if only on the client's side of it,
 * or the time for draining is over. Never when the response ends as it should.
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
  setMaxListeners(0, controller.signal); // each prompt of a request hears of it
  const gone = () => controller.abort(new ApiError(499, "The client closed the connection"));
  whenOver(reply, (complete) => {
    if (!complete) gone();
  });
  places.get(request)?.onAbort((reason) => controller.abort(reason));
  if (reply.raw.destroyed) gone();
  signals.set(request, controller.signal);
  return controller.signal;
}

/** One for each request: each has listeners of its own on the response. */
const signals = new WeakMap<FastifyRequest, AbortSignal>();
