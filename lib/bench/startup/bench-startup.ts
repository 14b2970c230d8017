import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { abortReason, onAbort, throwIfAborted } from "../../common/abort.js";
import { GptOssError } from "../../errors.js";
import type { EngineOptions } from "../../generation/options.js";
import { type EngineFacts, engineAbout, engineParameters } from "../engine/parameters.js";
import type { BenchUnit, NewRow } from "../rows.js";
import { measured } from "../statistics.js";
import type { StartEvent, StartOrder } from "./messages.js";

/** Measures how long a new process takes until a model is ready, and until its first token. */

export interface StartupBench {
  /** Name of the model, also for the rows. */
  model: string;
  options: EngineOptions;
  /** Starts that count. */
  rounds: number;
  signal: AbortSignal;
}

/** What a start took. Times are in milliseconds. */
interface Start {
  firstToken: number;
  ready: number;
  imported: number;
  load: number;
  resident: number;
  residentPeak: number;
  facts: EngineFacts;
}

export const startupUnits: Record<Exclude<keyof Start, "facts">, BenchUnit> = {
  firstToken: "ms",
  ready: "ms",
  imported: "ms",
  load: "ms",
  resident: "bytes",
  residentPeak: "bytes",
};

const inputTokens = 16;

/**
 * Gives one row. The first start does not count: it reads the files into memory, and may pack weights. After an abort,
 * the row has the starts until then.
 */
export async function* benchStartup(
  { model, options, rounds, signal }: StartupBench,
  progress: (text: string) => void,
): AsyncGenerator<NewRow, void, undefined> {
  const order: StartOrder = { model, options, inputTokens };
  progress(`${model}: first start, which does not count`);
  const first = await start(order, signal);
  const starts: Start[] = [];
  try {
    while (starts.length < rounds) {
      progress(`${model}: start ${starts.length + 1} of ${rounds}`);
      starts.push(await start(order, signal));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  if (starts.length > 0) yield rowOf(model, first, starts, signal.aborted);
  throwIfAborted(signal);
}

function rowOf(model: string, first: Start, starts: readonly Start[], interrupted: boolean): NewRow {
  const values = Object.entries(startupUnits).map(([name, unit]) => {
    const samples = starts.map((one) => one[name as keyof typeof startupUnits]);
    return [name, measured(samples, unit, "less")];
  });
  return {
    bench: "startup",
    name: "start",
    parameters: { ...engineParameters(model, first.facts), inputTokens },
    values: Object.fromEntries(values),
    about: { ...engineAbout(first.facts), firstStartMilliseconds: Math.round(first.firstToken), interrupted },
  };
}

/** Starts a process, and takes the time of each of its messages here. */
async function start(order: StartOrder, signal: AbortSignal): Promise<Start> {
  throwIfAborted(signal);
  const started = performance.now();
  // Without the flags of this process, such as --inspect. Only errors of Node itself are printed there.
  const child = fork(fileURLToPath(new URL("process.js", import.meta.url)), {
    execArgv: [],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const ignore = onAbort(signal, () => child.kill("SIGKILL"));
  const at: Partial<Record<StartEvent["kind"], number>> = {};
  let facts: EngineFacts | undefined;
  let memory: { resident: number; residentPeak: number } | undefined;
  let failure: Error | undefined;
  child.on("message", (event: StartEvent) => {
    at[event.kind] = performance.now() - started;
    if (event.kind === "ready") facts = event.facts;
    if (event.kind === "firstToken") memory = event;
    if (event.kind === "failure")
      failure = event.code === null ? new Error(event.message) : new GptOssError(event.code, event.message);
  });
  try {
    const closed = new Promise<string>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, killedBy) => resolve(killedBy ?? `exit code ${code}`));
    });
    // At a terminal, Ctrl-C may end it before it reads. Its end says so, and comes after the abort.
    child.send(order, () => {});
    const end = await closed;
    if (signal.aborted) throw abortReason(signal);
    if (failure) throw failure;
    if (!facts || !memory) throw new Error(`The process that loads the model ended early, with ${end}`);
    const { resident, residentPeak } = memory;
    const [imported, ready] = [at.imported!, at.ready!];
    const times = { firstToken: at.firstToken!, ready, imported, load: ready - imported };
    return { ...times, resident, residentPeak, facts };
  } finally {
    ignore();
  }
}
