// Many worker threads on one engine. The weights are loaded once; requests of all threads share the engine's steps.
// Shown: `engine.share()` in the thread that loads, `Engine.attach()` in each worker.
// Run: node examples/workers.mjs [MODEL]
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Engine } from "gpt-oss-node";

if (isMainThread) {
  const engine = await Engine.load(process.argv[2] ?? "demo");
  try {
    const handle = engine.share();
    const questions = ["3 + 4", "5 + 6", "7 + 8", "9 + 1"];
    const answers = questions.map(async (question) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { handle, question } });
      const [answer] = await once(worker, "message"); // an error of the worker rejects
      return answer;
    });
    console.log((await Promise.all(answers)).join("\n"));
  } finally {
    await engine.close();
  }
} else {
  const { handle, question } = workerData;
  const engine = Engine.attach(handle);
  const { content } = await engine.chat([{ role: "user", content: question }], { temperature: 0 }).result;
  parentPort?.postMessage(content);
  await engine.close(); // ends the requests of this thread; the engine of the main thread stays
}
