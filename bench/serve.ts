// npm run bench:serve: the cost of the server on top of the engine. A child process sends requests over loopback; then
// the same conversations go to the bare engine. Prints JSON lines; bench/README.md explains each number.
import { type ChildProcess, fork } from "node:child_process";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseArgs } from "node:util";
import type { FastifyInstance } from "fastify";
import { Engine } from "../lib/index.js";
import { createServer } from "../lib/server/index.js";
import { ScriptedEngine } from "../lib/testing/index.js";
import { counts, UsageError } from "./support/arguments.js";
import type { LoadOrder, LoadReport } from "./support/http-load.js";
import { commit, machine } from "./support/machine.js";
import { percentile } from "./support/statistics.js";
import { threadMilliseconds } from "./support/thread-time.js";

const help = `Usage: npm run bench:serve -- [MODEL ...] [options]

MODEL is "demo" (default), "scripted" (an engine that does almost no work), or a checkpoint with the full vocabulary.

  --clients LIST     concurrent clients; each sends its requests in turn     [1,32,256]
  --each N           requests per client and measurement                     [20]
  --max-tokens N     most tokens of each answer                              [48]
  --requests N       requests of the memory measurement; 0: none             [20000]
  --threads N        worker threads of the engine                            [one per core]
  --help             this text
`;

// The demo model knows these questions and answers each with some dozens of tokens. Any other model can use them, too.
const questions = [
  "What is 7 + 8?",
  "What is the capital of Japan?",
  "Who are you?",
  "What is 12 + 30?",
  "What is the capital of France?",
];
/** `<|channel|>final<|message|>`, 45 times " the", `<|return|>`: almost no work for the engine. */
const script = { tokens: [200005, 17196, 200008, ...Array<number>(45).fill(290), 200002] };
const watched = { clients: 32, maxTokens: 4, samples: 50, warmUp: 0.25 };

interface Plan {
  clients: number[];
  each: number;
  maxTokens: number;
  requests: number;
  threads: number | "auto";
}

/** The work of this thread during a measurement. */
interface Watched {
  /** Milliseconds of processor time of this thread, without the engine's threads. */
  cpu: number;
  /** The delay of a timer of 1 ms in milliseconds, p99. */
  delay: number;
}

async function watch<T>(work: () => Promise<T>): Promise<T & Watched> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const before = threadMilliseconds();
  const result = await work();
  const cpu = threadMilliseconds() - before;
  delay.disable();
  return { ...result, cpu, delay: delay.percentile(99) / 1e6 };
}

/** The clients' process. */
class Clients {
  readonly #child: ChildProcess;
  #heard: ((message: { report?: LoadReport; failure?: string }) => void) | undefined;

  constructor() {
    const file = path.join(import.meta.dirname, "support", "http-load.ts");
    this.#child = fork(file, { execArgv: ["--import", "tsx"], stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#child.on("message", (message: object) => this.#heard?.(message));
    this.#child.on("exit", () => this.#heard?.({ failure: "The clients' process ended" }));
  }

  async run(order: LoadOrder): Promise<LoadReport> {
    const { report, failure } = await new Promise<{ report?: LoadReport; failure?: string }>((resolve) => {
      this.#heard = resolve;
      this.#child.send(order);
    });
    if (!report) throw new Error(failure);
    return report;
  }

  close(): void {
    this.#child.kill();
  }
}

/** The same requests as the clients', without a server. */
async function bare(engine: Engine, { clients, requests, maxTokens }: LoadOrder): Promise<LoadReport> {
  const [firstToken, whole]: [number[], number[]] = [[], []];
  let begun = 0;
  let completionTokens = 0;
  const started = performance.now();
  const client = async (_: unknown, first: number) => {
    for (let i = first; begun < requests; i++) {
      begun++;
      const asked = performance.now();
      const run = engine.chat([{ role: "user", content: questions[i % questions.length]! }], {
        temperature: 0,
        maxTokens,
      });
      let isFirst = true;
      for await (const { type } of run) {
        if (type === "delta" && isFirst) firstToken.push(performance.now() - asked);
        if (type === "delta") isFirst = false;
      }
      whole.push(performance.now() - asked);
      const { usage } = await run.result;
      completionTokens += usage.completionTokens;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { seconds: (performance.now() - started) / 1000, completionTokens, firstToken, whole };
}

const rounded = (value: number) => Number(value.toPrecision(4));

function told(run: LoadReport & Watched) {
  const requests = run.whole.length;
  const percentiles = (values: number[]) => ({
    p50: rounded(percentile(values, 50)),
    p99: rounded(percentile(values, 99)),
  });
  return {
    tokens: run.completionTokens,
    requestsPerSecond: rounded(requests / run.seconds),
    tokensPerSecond: rounded(run.completionTokens / run.seconds),
    firstTokenMilliseconds: percentiles(run.firstToken),
    requestMilliseconds: percentiles(run.whole),
    cpuMicrosecondsPerRequest: rounded((1000 * run.cpu) / requests),
    cpuMicrosecondsPerToken: rounded((1000 * run.cpu) / run.completionTokens),
    eventLoopDelayMilliseconds: rounded(run.delay),
  };
}

async function measure(model: string, plan: Plan, print: (line: object) => void): Promise<void> {
  const maxSequences = Math.max(64, ...plan.clients);
  await using engine =
    model === "scripted"
      ? new ScriptedEngine([script], { contextLength: 1024, maxSequences })
      : await Engine.load(model, { threads: plan.threads, contextLength: 1024, maxSequences });
  const app = await createServer({ engine, modelName: model });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const clients = new Clients();
  const { backend, isa, threads, numerics } = engine.info;
  const about = { model, backend, isa, threads, numerics };
  try {
    const order = (n: number): LoadOrder => {
      return { port, clients: n, requests: n * plan.each, model, maxTokens: plan.maxTokens, questions };
    };
    // Each way runs once first, so that code, caches and connections are warm.
    await clients.run(order(8));
    await bare(engine, order(8));
    for (const n of plan.clients) {
      const served = told(await watch(() => clients.run(order(n))));
      const alone = told(await watch(() => bare(engine, order(n))));
      const per = (key: "cpuMicrosecondsPerRequest" | "cpuMicrosecondsPerToken") => rounded(served[key] - alone[key]);
      print({
        ...about,
        measure: "serve",
        clients: n,
        requests: n * plan.each,
        served,
        bare: alone,
        overhead: {
          cpuMicrosecondsPerRequest: per("cpuMicrosecondsPerRequest"),
          cpuMicrosecondsPerToken: per("cpuMicrosecondsPerToken"),
          requestMilliseconds: rounded(served.requestMilliseconds.p50 - alone.requestMilliseconds.p50),
        },
      });
    }
    if (plan.requests > 0)
      print({ ...about, measure: "memory", ...(await memory(app, engine, clients, model, plan.requests)) });
  } finally {
    clients.close();
    app.server.closeAllConnections();
    await app.close();
  }
}

/**
 * Resident memory during requests, in slices. The first slices, in which all buffers grow to their size, do not count.
 */
async function memory(app: FastifyInstance, engine: Engine, clients: Clients, model: string, requests: number) {
  const { port } = app.server.address() as AddressInfo;
  const slice = Math.max(1, Math.ceil(requests / watched.samples));
  const points: { done: number; rss: number }[] = [];
  for (let done = slice; done <= requests; done += slice) {
    await clients.run({ ...watched, port, requests: slice, model, questions });
    if (engine instanceof ScriptedEngine) engine.requests.length = 0; // it keeps the requests, for tests
    if (done >= requests * watched.warmUp) points.push({ done, rss: process.memoryUsage.rss() / 1e6 });
  }
  return {
    requests,
    clients: watched.clients,
    rssMB: { first: rounded(points[0]!.rss), last: rounded(points.at(-1)!.rss) },
    rssSlopeMBPer1000: rounded(slope(points)),
  };
}

/** Least squares: MB per 1,000 requests. */
function slope(points: readonly { done: number; rss: number }[]): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map(({ done }) => done)), mean(points.map(({ rss }) => rss))];
  const covariance = mean(points.map(({ done, rss }) => (done - x) * (rss - y)));
  return (1000 * covariance) / mean(points.map(({ done }) => (done - x) ** 2));
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      clients: { type: "string", default: "1,32,256" },
      each: { type: "string", default: "20" },
      "max-tokens": { type: "string", default: "48" },
      requests: { type: "string", default: "20000" },
      threads: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const plan: Plan = {
    clients: counts("clients", values.clients),
    each: counts("each", values.each)[0]!,
    maxTokens: counts("max-tokens", values["max-tokens"])[0]!,
    requests: counts("requests", values.requests, 0)[0]!,
    threads: values.threads === undefined ? "auto" : counts("threads", values.threads)[0]!,
  };
  const every = { bench: "serve", commit: commit(), machine: machine() };
  for (const model of positionals.length > 0 ? positionals : ["demo"]) {
    await measure(model, plan, (line) => process.stdout.write(`${JSON.stringify({ ...every, ...line })}\n`));
  }
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
