import path from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import { failure } from "../support/failure.js";

/** One engine in several threads: the same weights, cache and steps, with separate requests of each thread. */

const model = path.resolve("test/golden/models/a");
const built = path.resolve("dist/index.js");
const options = { temperature: 0, maxTokens: 30, ignoreEos: true };

/** What a handle says beside its number. */
const origin = {
  backendReason: "",
  resolved: { name: "a", path: model, source: "path" as const, details: {}, tried: [] },
};

let engine: Engine;
const workers: Worker[] = [];
beforeAll(async () => {
  engine = await Engine.load(model, { contextLength: 4096 });
});
afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.terminate()));
  await engine.close();
});

/** A thread that attaches to an engine and then runs `body`, in which `tell` posts a message. */
function attached(to: Engine, body: string): Worker {
  const worker = new Worker(
    `const { parentPort, workerData } = require("node:worker_threads");
     const tell = (message) => parentPort.postMessage(message);
     import(${JSON.stringify(built)}).then(async ({ Engine }) => {
       const engine = Engine.attach(workerData.handle);
       const options = workerData.options;
       ${body}
     });`,
    { eval: true, workerData: { handle: to.share(), options } },
  );
  workers.push(worker);
  return worker;
}

const message = (worker: Worker) =>
  new Promise<unknown>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
const ended = (worker: Worker) => new Promise((resolve) => worker.once("exit", resolve));

function pagesInUse(): number {
  const { full, window } = engine.stats().pages;
  return full.total - full.free + window.total - window.free;
}

describe("Engine.attach", () => {
  it("gives the same tokens in several threads at once, although their request ids are equal", async () => {
    const prompts = Array.from({ length: 8 }, (_, i) => [i + 1, 2, 3]);
    const alone = [];
    for (const prompt of prompts) alone.push((await engine.generate(prompt, options).result).tokens);
    const body = `
      const prompts = ${JSON.stringify(prompts)};
      const results = await Promise.all(prompts.map((prompt) => engine.generate(prompt, options).result));
      tell({ info: engine.info, tokens: results.map((result) => result.tokens) });
      await engine.close();`;
    const told = [1, 2, 3].map(() => message(attached(engine, body)));
    const here = Promise.all(prompts.map((prompt) => engine.generate(prompt, options).result));
    for (const answer of await Promise.all(told)) expect(answer).toEqual({ info: engine.info, tokens: alone });
    expect((await here).map(({ tokens }) => tokens)).toEqual(alone);
    expect(pagesInUse()).toBe(0);
  });

  it("works in the same thread too, logits and cancelling included", async () => {
    const second = Engine.attach(engine.share());
    expect(await second.logits([1, 2, 3])).toEqual(await engine.logits([1, 2, 3]));
    const run = second.generate([1], { ...options, maxTokens: 3000 });
    for await (const _ of run) break;
    expect((await run.result).finishReason).toBe("cancelled");
    expect(second.stats().completionTokens).toBe(engine.stats().completionTokens);
    await second.close();
  });

  it("ends only its own requests when it is closed", async () => {
    const second = Engine.attach(engine.share());
    const own = second.generate([1], { ...options, maxTokens: 3000 });
    const logits = second.logits(new Array(3000).fill(1));
    const other = engine.generate([1], { ...options, maxTokens: 300 });
    await own[Symbol.asyncIterator]().next();
    await Promise.all([second.close(), second.close()]);
    expect((await failure(() => own.result)).code).toBe("CLOSED");
    expect((await failure(() => logits)).code).toBe("CLOSED");
    expect((await failure(() => second.generate([1]))).code).toBe("CLOSED");
    expect((await failure(() => second.share())).code).toBe("CLOSED");
    expect((await other.result).tokens).toHaveLength(300);
    expect(pagesInUse()).toBe(0);
  });

  it("ends its requests when the owner closes", async () => {
    const owner = await Engine.load(model, { contextLength: 4096 });
    const handle = owner.share();
    const worker = attached(
      owner,
      `const run = engine.generate([1], { ...options, maxTokens: 4000 });
       for await (const _ of run) { tell("runs"); break; }
       const next = engine.generate([1], { ...options, maxTokens: 4000 });
       next.result.catch((error) => {
         try { engine.generate([1]); } catch (later) { tell([error.code, later.code]); }
       });`,
    );
    expect(await message(worker)).toBe("runs");
    const codes = message(worker);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await owner.close();
    expect(await codes).toEqual(["CLOSED", "CLOSED"]);
    expect((await failure(() => Engine.attach(handle))).code).toBe("CLOSED");
    expect((await failure(() => owner.share())).code).toBe("CLOSED");
  });

  it("keeps no thread alive while it is idle", async () => {
    const worker = attached(engine, `tell((await engine.generate([1], options).result).tokens.length);`);
    const exit = ended(worker);
    expect(await message(worker)).toBe(30);
    expect(await exit).toBe(0);
  });

  it("survives a thread that is terminated in mid-stream, and frees its resources", async () => {
    const worker = attached(
      engine,
      `for await (const _ of engine.generate([1], { ...options, maxTokens: 4000 })) tell("runs");`,
    );
    const other = engine.generate([1], { ...options, maxTokens: 200 });
    await message(worker);
    await worker.terminate();
    expect((await other.result).tokens).toHaveLength(200);
    await engine.generate([1], { maxTokens: 1 }).result; // a step later
    expect(pagesInUse()).toBe(0);
    expect(engine.stats().running).toBe(0);
  });

  it.each([
    [null],
    [5],
    [{}],
    [{ ...origin, handle: -1 }],
    [{ ...origin, handle: "1" }],
    [{ handle: 1 }],
    [{ handle: 1, backendReason: "" }],
    [{ ...origin, handle: 2 ** 40 }],
  ])("refuses %j", async (handle) => {
    expect((await failure(() => Engine.attach(handle as never))).code).toBe("INVALID_ARGUMENT");
  });

  it("refuses a handle that no engine has", async () => {
    expect((await failure(() => Engine.attach({ ...origin, handle: 4e9 }))).code).toBe("CLOSED");
  });
});
