import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { createServer } from "../../lib/server/index.js";
import { ScriptedEngine } from "../../lib/testing/index.js";
import { type Api, contextLength, modelName, type Place, type Run, type Start } from "./clients.js";
import { ScriptedModel, thoughtOf } from "./model.js";
import { type Exchange, Relay } from "./relay.js";
import { answer, makeRepository, newLine, wrongWith } from "./task.js";

/** The slowest client took 50 seconds on two cores that had four times too much to do. */
const mostSeconds = 300;

export interface Outcome {
  /** What is wrong; empty when the run passed. */
  wrong: string[];
  /** What happened, in lines for the log. */
  log: string[];
}

/** Runs a client in a new folder, against a server of its own. */
export async function runClient(run: Run, packages: string, folder: string): Promise<Outcome> {
  const place = { home: path.join(folder, "home"), repository: path.join(folder, "repository"), packages };
  mkdirSync(place.home, { recursive: true });
  makeRepository(place.repository);
  const model = new ScriptedModel(run.steps, place.repository);
  const engine = new ScriptedEngine(model.write, { contextLength, kvCache: { bytes: "256MiB" } });
  // Strict, because a client that sends an unknown field may want an effect of it.
  const app = await createServer({ engine, modelName, strictRequests: true });
  const relay = await Relay.start(await app.listen({ host: "127.0.0.1", port: 0 }));
  try {
    const desk = path.join(folder, "desk.txt");
    const where: Place = { ...place, desk, baseUrl: `${relay.address}/v1` };
    const ended = await execute(run.start(where), where, relay.address);
    const wrong = [
      ...ended.wrong,
      ...(model.fault === null ? [] : [model.fault]),
      ...wrongWith(place.repository),
      ...wrongCalls(run, model),
      ...wrongPrompts(run, model),
      ...wrongExchanges(run, relay.exchanges),
      ...(run.steps.includes("note") ? wrongNote(desk) : []),
    ];
    return { wrong, log: [...ended.log, ...relay.exchanges.map(lineOf), ...told(model, relay)] };
  } finally {
    await relay.close();
    await app.close();
    await engine.close();
  }
}

/** Runs the commands of a client in its repository. The last one must end with the model's answer on stdout. */
async function execute({ commands, env }: Start, place: Place, proxy: string): Promise<Outcome> {
  const out: Outcome = { wrong: [], log: [] };
  for (const [i, [program, ...args]] of commands.entries()) {
    const file = path.join(place.packages, "node_modules/.bin", program);
    const { status, stdout, stderr } = await ended(file, args, place.repository, {
      PATH: process.env.PATH ?? "",
      HOME: place.home,
      LANG: "C.UTF-8",
      TERM: "dumb",
      NO_COLOR: "1",
      ...proxied(proxy),
      ...env,
    });
    out.log.push(`$ ${[program, ...args].join(" ")}`, ...indented(stdout), ...indented(stderr), `exit ${status}`);
    if (status !== 0)
      return { ...out, wrong: [`${program} ended with ${status}: ${stderr.trim().split("\n").at(-1)}`] };
    const isLast = i + 1 === commands.length;
    if (isLast && !stdout.includes(answer)) out.wrong.push("the answer of the model is not on stdout");
  }
  return out;
}

/** Whatever is not on this machine goes to the relay, which refuses it. */
function proxied(proxy: string): Record<string, string> {
  const names = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map((name) => [name, proxy]);
  return { ...Object.fromEntries(names), NO_PROXY: "127.0.0.1,localhost", no_proxy: "127.0.0.1,localhost" };
}

interface Ended {
  status: number | string;
  stdout: string;
  stderr: string;
}

function ended(file: string, args: readonly string[], cwd: string, env: Record<string, string>): Promise<Ended> {
  return new Promise((resolve, reject) => {
    // A group of its own, so that what the client leaves behind ends with it.
    const child = spawn(file, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    const endGroup = () => {
      try {
        process.kill(-child.pid!, "SIGKILL");
      } catch {
        // Nothing of it is left.
      }
    };
    process.once("exit", endGroup);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      endGroup();
    }, mostSeconds * 1000);
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      process.off("exit", endGroup);
      endGroup();
      child.on("close", () => {
        resolve({ status: isLate ? `nothing in ${mostSeconds} s` : (code ?? signal ?? "nothing"), stdout, stderr });
      });
    });
  });
}

function wrongCalls({ calls }: Run, model: ScriptedModel): string[] {
  const made = model.calls.join(", ");
  return made === calls.join(", ") ? [] : [`expected the calls ${calls.join(", ")} but the model made ${made}`];
}

/** Each prompt must have the reasoning of all turns before it: the model goes on where it was. */
function wrongPrompts({ steps }: Run, { prompts }: ScriptedModel): string[] {
  if (prompts.length !== steps.length + 1) return [`${prompts.length} prompts for ${steps.length + 1} turns`];
  return prompts.flatMap((prompt, turn) =>
    steps.slice(0, turn).flatMap((step) => {
      const is = prompt.includes(`<|channel|>analysis<|message|>${thoughtOf(step)}<|end|>`);
      return is ? [] : [`prompt ${turn + 1} lacks the reasoning of the step ${step}`];
    }),
  );
}

const pathOf: Record<Api, string> = { "chat completions": "/v1/chat/completions", responses: "/v1/responses" };

function wrongExchanges({ api, kinds, carries }: Run, exchanges: readonly Exchange[]): string[] {
  const sent = exchanges.filter(({ path }) => path === pathOf[api]);
  const seen = new Set(sent.flatMap(kindsIn));
  const carried = carries === null || sent.at(-1)?.body.includes(`"${carries}":`);
  return [
    ...exchanges.filter(({ status }) => status !== 200).map((exchange) => `refused: ${lineOf(exchange)}`),
    ...exchanges.filter(({ path }) => path !== pathOf[api]).map((exchange) => `of another API: ${lineOf(exchange)}`),
    ...kinds.filter((kind) => !seen.has(kind)).map((kind) => `the client sent no tool of the kind ${kind}`),
    ...(carried ? [] : [`the client sent no ${carries}`]),
  ];
}

function kindsIn({ body }: Exchange): string[] {
  const { tools = [] } = JSON.parse(body) as { tools?: { type: string }[] };
  return [...new Set(tools.map(({ type }) => type))];
}

function lineOf(exchange: Exchange): string {
  const { method, path, body, status } = exchange;
  const kinds = body === "" ? [] : kindsIn(exchange);
  return `${method} ${path} ${status}, ${body.length} characters${kinds.length > 0 ? `, tools: ${kinds.join(", ")}` : ""}`;
}

function wrongNote(desk: string): string[] {
  const text = existsSync(desk) ? readFileSync(desk, "utf8") : null;
  return text === newLine ? [] : [`the MCP server was given ${JSON.stringify(text)}`];
}

function told({ calls, asides }: ScriptedModel, { refused }: Relay): string[] {
  return [
    `the model called ${calls.join(", ")}; requests beside the agent's: ${asides}`,
    ...(refused.size > 0 ? [`the client also wanted to reach ${[...refused].join(", ")}`] : []),
  ];
}

function indented(text: string): string[] {
  return text
    .trimEnd()
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => `  ${line.trimEnd()}`);
}
