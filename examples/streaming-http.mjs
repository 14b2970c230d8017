// An HTTP service on node:http that streams answers as server-sent events, for `new EventSource(url)` in a browser.
// Shown: aborting when the client leaves, waiting for a slow client, and HTTP statuses from error codes.
// Run: PORT=8080 node examples/streaming-http.mjs [MODEL], then: curl -N 'localhost:8080/?question=Who+are+you?'
import { once } from "node:events";
import http from "node:http";
import { Engine, GptOssError } from "gpt-oss-node";

const engine = await Engine.load(process.argv[2] ?? "demo");

const server = http.createServer(async (request, response) => {
  const left = new AbortController();
  response.on("close", () => left.abort(new Error("The client has left")));
  const { signal } = left;
  try {
    const question = new URL(request.url ?? "/", "http://localhost").searchParams.get("question");
    if (!question) throw new GptOssError("INVALID_ARGUMENT", "Expected a question in the query");
    const run = engine.chat([{ role: "user", content: question }], { reasoningEffort: "low", temperature: 0, signal });
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    for await (const event of run) {
      // Waiting here pauses the request when the client reads slowly.
      if (!response.write(`data: ${JSON.stringify(event)}\n\n`)) await once(response, "drain", { signal });
    }
    response.end();
  } catch (error) {
    if (!signal.aborted) answerError(response, error);
  }
});

/**
 * @param {http.ServerResponse} response
 * @param {unknown} error
 */
function answerError(response, error) {
  const code = error instanceof GptOssError ? error.code : "INTERNAL";
  const body = JSON.stringify({ code, message: error instanceof Error ? error.message : String(error) });
  if (response.headersSent) {
    response.end(`event: error\ndata: ${body}\n\n`);
    return;
  }
  const status = { INVALID_ARGUMENT: 400, CONTEXT_OVERFLOW: 400, QUEUE_FULL: 429 }[String(code)] ?? 500;
  response.writeHead(status, { "content-type": "application/json" }).end(body);
}

server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  console.log(`http://127.0.0.1:${port}`);
});

process.once("SIGTERM", () => {
  server.close(() => engine.close());
});
