// A route handler for Next.js (app/api/chat/route.js) that streams the text of the answer.
// Shown: one engine per process, an answer as a ReadableStream, and an end when the client leaves.
// Use: set `serverExternalPackages: ["gpt-oss-node"]` in next.config.js, because a native addon cannot be bundled.
import { Engine, GptOssError } from "gpt-oss-node";

// Next itself is a large dependency. So the test calls `POST` with a standard Request, as Next does.
export const runtime = "nodejs"; // the edge runtime loads no addons
export const dynamic = "force-dynamic";

// The development server evaluates this file again after a change. The engine must be loaded only once.
const shared = /** @type {{ engine?: Promise<Engine> }} */ (globalThis);

/** @param {Request} request */
export async function POST(request) {
  shared.engine ??= Engine.load(process.env.GPT_OSS_MODEL ?? "demo");
  try {
    const engine = await shared.engine;
    const { messages } = /** @type {any} */ (await request.json());
    const run = engine.chat(messages, { reasoningEffort: "low", temperature: 0, signal: request.signal });
    await run.accepted; // throws for a refused request, before the status is sent
    const headers = { "content-type": "text/plain; charset=utf-8" };
    return new Response(textOf(run).pipeThrough(new TextEncoderStream()), { headers });
  } catch (error) {
    const code = error instanceof GptOssError ? error.code : "INVALID_ARGUMENT";
    return Response.json({ code, message: String(error) }, { status: code === "QUEUE_FULL" ? 429 : 400 });
  }
}

/**
 * @param {import("gpt-oss-node").ChatRun} run
 * @returns {ReadableStream<string>}
 */
function textOf(run) {
  const events = run[Symbol.asyncIterator]();
  return new ReadableStream({
    // Called when there is room for more text, so that a slow client pauses its own request.
    async pull(controller) {
      for (;;) {
        const { value: event, done } = await events.next();
        if (done) return controller.close();
        if (event.type === "delta" && event.channel === "final") return controller.enqueue(event.text);
      }
    },
    cancel: () => run.cancel(),
  });
}
