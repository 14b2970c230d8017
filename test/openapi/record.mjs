// Preloaded into every process of a test run. Writes down each answer that a server on Fastify sends, which here is only
// the product's own: other servers of the tests are of plain `node:http`.

import { subscribe } from "node:diagnostics_channel";
import { appendFileSync } from "node:fs";
import path from "node:path";

const folder = process.env.OPENAPI_RECORD;
if (folder !== undefined) {
  const file = path.join(folder, `${process.pid}.jsonl`);
  subscribe("fastify.initialization", ({ fastify }) => {
    fastify.addHook("onRequest", (request, reply, next) => {
      record(request, reply.raw, (line) => appendFileSync(file, `${JSON.stringify(line)}\n`));
      next();
    });
  });
}

/** Keeps what is written to a response until it ends, or its reader leaves. */
function record({ method, url }, raw, save) {
  const pieces = [];
  let ended = false; // `end` may call `write`
  let saved = false;
  for (const name of ["write", "end"]) {
    const written = raw[name];
    raw[name] = function (piece, encoding, ...rest) {
      if (!ended) {
        if (typeof piece === "string")
          pieces.push(Buffer.from(piece, typeof encoding === "string" ? encoding : "utf8"));
        else if (piece instanceof Uint8Array) pieces.push(Buffer.from(piece));
      }
      if (name === "end") ended = true;
      return written.call(this, piece, encoding, ...rest);
    };
  }
  const finish = () => {
    if (saved) return;
    saved = true;
    const type = String(raw.getHeader("content-type") ?? "");
    save({ method, url, status: raw.statusCode, type, body: Buffer.concat(pieces).toString(), complete: ended });
  };
  raw.setMaxListeners(raw.getMaxListeners() + 2); // the server must not be warned of these two
  raw.once("finish", finish);
  raw.once("close", finish);
}
