// An Express app with one route that answers a question with JSON.
// Shown: one engine for all requests, aborting when the client leaves, and HTTP statuses from error codes.
// Run: PORT=8080 node examples/express.mjs [MODEL], then: curl -d question='Who are you?' localhost:8080/ask
import express from "express";
import { Engine, GptOssError } from "gpt-oss-node";

const engine = await Engine.load(process.argv[2] ?? "demo");
const app = express();
app.use(express.urlencoded({ extended: false }), express.json());

app.post("/ask", async (request, response) => {
  const left = new AbortController();
  response.on("close", () => left.abort(new Error("The client has left")));
  const messages = [{ role: /** @type {const} */ ("user"), content: request.body?.question }];
  const run = engine.chat(messages, { temperature: 0, signal: left.signal });
  const { content, reasoning, usage } = await run.result; // Express passes an exception to the handler below
  response.json({ content, reasoning, usage });
});

/** @type {express.ErrorRequestHandler} */
const answerError = (error, _request, response, next) => {
  if (response.destroyed) return; // the client has left
  if (!(error instanceof GptOssError)) return next(error);
  const status = { INVALID_ARGUMENT: 400, CONTEXT_OVERFLOW: 400, QUEUE_FULL: 429 }[String(error.code)] ?? 500;
  response.status(status).json({ code: error.code, message: error.message });
};
app.use(answerError);

const server = app.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  console.log(`http://127.0.0.1:${port}`);
});

process.once("SIGTERM", () => {
  server.close(() => engine.close());
});
