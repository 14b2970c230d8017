// npm run bench:hostile: sends harmful requests one after the other, over all routes. It measures for each how long the
// event loop is blocked, how long another stream waits for its next token, and how much memory stays. A table goes to
// stderr, JSON lines to stdout; bench/README.md explains each field.
import { type ChildProcess, fork } from "node:child_process";
import http from "node:http";
import { loadavg } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { continued, type HostileRequest, hostileRequests, isText } from "./hostile/requests.js";
import type { ServerInterval } from "./hostile/server.js";
import { commit, machine } from "./support/machine.js";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "demo" },
    only: { type: "string", default: "" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  process.stdout.write(`Usage: npm run bench:hostile -- [options]

  --model MODEL   the served model                            [demo]
  --only TEXT     requests whose name contains this text      [all]
`);
  process.exit();
}

/**
 * Milliseconds: for an answer, after which the client disconnects; for work that continues after it; and at the end.
 */
const patience = { request: 5000, settle: 300, end: 8000 };
const goals = { eventLoopDelay: 50, gap: 100, keptMegabytes: 50 };

interface Outcome {
  name: string;
  /** 0: no answer came. */
  status: number;
  milliseconds: number;
  eventLoopDelay: number;
  gap: number;
  /** Resident memory after the request minus that before it. */
  keptMegabytes: number;
  longestLogLine: number;
}

class Process<Report> {
  readonly child: ChildProcess;
  #heard: (message: unknown) => void = () => {};

  constructor(file: string, args: string[]) {
    this.child = fork(path.join(import.meta.dirname, "hostile", file), args, {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    this.child.on("message", (message) => this.#heard(message));
    this.child.on("exit", (code) => {
      if (code === null) return; // we ended it
      process.stderr.write(`${file} ended with ${code}\n`);
      process.exit(1);
    });
  }

  next(): Promise<Report> {
    return new Promise((resolve) => {
      this.#heard = (message) => resolve(message as Report);
    });
  }

  tell(order: "begin" | "end"): Promise<Report> {
    const report = this.next();
    this.child.send(order);
    return report;
  }
}

/** Sends the chain of requests before this one. Returns the id of the last response, which it continues. */
async function begun(port: number, { path: target, body, chain = 0 }: HostileRequest): Promise<string | null> {
  let id: string | null = null;
  for (let i = 0; i < chain; i++) {
    const answer = await fetch(`http://127.0.0.1:${port}${target}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(continued(body?.(), id)),
    });
    id = ((await answer.json()) as { id: string }).id;
  }
  return id;
}

function ask(
  port: number,
  { method, path: target, headers, body }: HostileRequest,
  previousId: string | null,
): Promise<number> {
  const made = continued(body?.(), previousId);
  const text = made === undefined || isText(made) ? made : JSON.stringify(made);
  return new Promise((resolve) => {
    const request = http.request({
      host: "127.0.0.1",
      port,
      method,
      path: target,
      agent: false,
      headers: {
        ...(text !== undefined && { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
        ...headers,
      },
    });
    let status = 0;
    request.on("response", (response) => {
      status = response.statusCode ?? 0;
      response.resume().on("close", () => resolve(status));
    });
    request.on("error", () => resolve(status)).setTimeout(patience.request, () => request.destroy());
    request.end(text);
  });
}

const server = new Process<{ port: number } & ServerInterval>("server.ts", [values.model]);
const { port } = await server.next();
let longest = 0;
createInterface({ input: server.child.stderr! }).on("line", (line) => {
  longest = Math.max(longest, line.length);
});
const victim = new Process<{ gap: number }>("victim.ts", [String(port)]);
victim.child.stderr!.pipe(process.stderr);
await pause(2000); // until its stream runs

const outcomes: Outcome[] = [];
const rounded = (value: number) => Math.round(value * 10) / 10;
const atFirst = (await server.tell("end")).residentMegabytes;
let before = atFirst;
for (const request of hostileRequests({ scale: 1 })) {
  if (!request.name.includes(values.only)) continue;
  const previousId = await begun(port, request);
  await Promise.all([server.tell("begin"), victim.tell("begin")]);
  longest = 0;
  const started = performance.now();
  const status = await ask(port, request, previousId);
  const milliseconds = performance.now() - started;
  await pause(patience.settle);
  const { gap } = await victim.tell("end");
  const { eventLoopDelay, residentMegabytes } = await server.tell("end");
  const outcome: Outcome = {
    name: request.name,
    status,
    milliseconds: rounded(milliseconds),
    eventLoopDelay: rounded(eventLoopDelay),
    gap: rounded(gap),
    keptMegabytes: rounded(residentMegabytes - before),
    longestLogLine: longest,
  };
  before = residentMegabytes;
  outcomes.push(outcome);
  process.stderr.write(line(outcome));
  process.stdout.write(`${JSON.stringify({ bench: "hostile", commit: commit(), model: values.model, ...outcome })}\n`);
}

function line({ name, status, milliseconds, eventLoopDelay, gap, keptMegabytes, longestLogLine }: Outcome): string {
  const over = eventLoopDelay > goals.eventLoopDelay || gap > goals.gap || keptMegabytes > goals.keptMegabytes;
  const cells = [milliseconds, eventLoopDelay, gap, keptMegabytes, longestLogLine].map((value) =>
    String(value).padStart(9),
  );
  return `${over ? "!" : " "} ${name.slice(0, 52).padEnd(52)} ${String(status).padStart(3)} ${cells.join("")}\n`;
}

const worst = (field: "eventLoopDelay" | "gap" | "keptMegabytes" | "longestLogLine") => {
  const { name, [field]: value } = outcomes.reduce((a, b) => (b[field] > a[field] ? b : a));
  return { value, name };
};
await pause(patience.end);
const { residentMegabytes } = await server.tell("end");
const summary = {
  bench: "hostile",
  commit: commit(),
  machine: machine(),
  /** Load of the whole machine. Above the number of cores, the milliseconds are not caused by the server alone. */
  loadAverage: rounded(loadavg()[0]!),
  model: values.model,
  requests: outcomes.length,
  goals,
  worst: {
    eventLoopDelay: worst("eventLoopDelay"),
    gap: worst("gap"),
    keptMegabytes: worst("keptMegabytes"),
    longestLogLine: worst("longestLogLine"),
  },
  /** Resident memory some seconds after the last request minus that before the first one. */
  keptOfAllMegabytes: rounded(residentMegabytes - atFirst),
};
process.stderr.write(`${JSON.stringify(summary.worst, null, 2)}\n`);
process.stdout.write(`${JSON.stringify(summary)}\n`);
for (const { child } of [victim, server]) child.kill();
