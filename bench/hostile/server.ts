// The server's process of bench/hostile.ts. It reports its port, and for each interval how long the event loop was
// blocked and how much memory is in use after a collection.
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Engine } from "../../lib/index.js";
import { createServer } from "../../lib/server/index.js";
import { servedModel } from "./requests.js";

export interface ServerInterval {
  /** The greatest delay of a timer of 1 ms, in milliseconds. */
  eventLoopDelay: number;
  residentMegabytes: number;
}

const [model = "demo"] = process.argv.slice(2);
setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const engine = await Engine.load(model, { kvCache: { bytes: "128MiB" } });
// Touches the pages of the cache: they are memory of the engine, not of the request that first uses them.
for (let salt = 0; salt < 24; salt++) {
  const prompt = Array.from({ length: 2000 }, (_, i) => (i * 31 + salt * 7919) % 100_000);
  await engine.generate(prompt, { maxTokens: 1, cacheSalt: String(salt) }).result;
}
const app = await createServer({ engine, modelName: servedModel, logger: true });
await app.listen({ host: "127.0.0.1", port: 0 });

const resolution = 1;
const delay = monitorEventLoopDelay({ resolution });
delay.enable();
process.on("message", (order: "begin" | "end") => {
  if (order === "begin") {
    collectGarbage();
    setTimeout(() => {
      delay.reset();
      process.send!("begun");
    }, 20);
    return;
  }
  const eventLoopDelay = Math.max(0, delay.max / 1e6 - resolution); // before the collection, which delays it, too
  collectGarbage();
  const interval: ServerInterval = { eventLoopDelay, residentMegabytes: process.memoryUsage.rss() / 1e6 };
  process.send!(interval);
});
process.send!({ port: (app.server.address() as AddressInfo).port });
