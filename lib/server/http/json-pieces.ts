import { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import type { FastifyReply } from "fastify";

/** JSON text in pieces: writing a long answer at once would block the event loop. */

/** Characters of a piece: about a millisecond of work. */
const pieceLength = 2 ** 16;
/** A list or an object with at most this many members is written at once, if no member has members itself. */
const smallSize = 64;

/** A list or an object that was opened and not yet closed. */
interface Open {
  values: Iterator<unknown>;
  /** The member names of an object; null for a list. */
  keys: string[] | null;
  written: number;
}

/** The same text as JSON.stringify. Typed arrays and other iterables become lists. */
export function* jsonPieces(value: unknown): Generator<string, void, undefined> {
  const open: Open[] = [];
  let text = "";
  const begin = (next: unknown): void => {
    const plain = toJson(next);
    if (isSmall(plain)) {
      text += JSON.stringify(plain) ?? "null";
    } else if (isList(plain)) {
      text += "[";
      open.push({ values: plain[Symbol.iterator](), keys: null, written: 0 });
    } else {
      const members = Object.entries(plain as object).filter(([, member]) => isValue(member));
      text += "{";
      open.push({
        values: members.map(([, member]) => member)[Symbol.iterator](),
        keys: members.map(([key]) => key),
        written: 0,
      });
    }
  };
  begin(value);
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const { value: next, done } = top.values.next() as IteratorResult<unknown, unknown>;
    if (done) {
      text += top.keys === null ? "]" : "}";
      open.pop();
    } else {
      if (top.written > 0) text += ",";
      if (top.keys !== null) text += `${JSON.stringify(top.keys[top.written])}:`;
      top.written++;
      begin(next);
    }
    if (text.length >= pieceLength) {
      yield text;
      text = "";
    }
  }
  if (text !== "") yield text;
}

function toJson(value: unknown): unknown {
  const { toJSON } = (value ?? {}) as { toJSON?: unknown };
  return typeof toJSON === "function" ? (toJSON.call(value) as unknown) : value;
}

/** Whether JSON can represent the value. Objects leave out other members. */
function isValue(value: unknown): boolean {
  return value !== undefined && typeof value !== "function" && typeof value !== "symbol";
}

function isList(value: unknown): value is Iterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.iterator in value;
}

function isSmall(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (isList(value) && !Array.isArray(value)) return false;
  const members: unknown[] = Array.isArray(value) ? value : Object.values(value);
  return members.length <= smallSize && members.every((member) => typeof member !== "object" || member === null);
}

/** Sends a value: a short one at once, a long one in pieces, at the client's reading speed. */
export function sendJson(reply: FastifyReply, value: unknown): FastifyReply {
  reply.type("application/json; charset=utf-8");
  const pieces = jsonPieces(value);
  const first = pieces.next().value ?? "";
  const second = pieces.next();
  if (second.done) return reply.send(first);
  return reply.send(Readable.from(unhurried([first, second.value], pieces)));
}

/** Yields the pieces that exist, then the rest, with a turn of the event loop before each. */
async function* unhurried(there: readonly string[], rest: Iterable<string>): AsyncGenerator<string, void, undefined> {
  yield* there;
  for (const piece of rest) {
    await setImmediate();
    yield piece;
  }
}
