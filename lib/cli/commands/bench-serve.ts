import { Command } from "commander";
import type { NewRow } from "../../bench/rows.js";
import { benchServe, type ServeProgress } from "../../bench/serve/bench-serve.js";
import { serveTables } from "../bench/serve-table.js";
import { runBench } from "../bench/session.js";
import { addBenchServeOptions, type BenchServeFlags, serveBenchOptions } from "../options/bench-serve.js";
import { Output } from "../output.js";

export function benchServeCommand(): Command {
  const command = new Command("serve")
    .description("Measure a server that speaks OpenAI's API: throughput, time to the first token, time per token.")
    .argument("<url>", "base URL such as http://127.0.0.1:8080, with or without /v1")
    .addHelpText(
      "after",
      `
A level of load is a closed loop (--concurrency) or an open one (--rate).
Latencies are of the requests that succeeded. Ctrl-C prints what was measured.
Exits with 1 if no request of a level succeeded.`,
    );
  return addBenchServeOptions(command).configureHelp({ minWidthToWrap: 20 }).action(measure);
}

/** A terminal takes more time for more lines, and nobody reads them. */
const statusMilliseconds = 100;

async function measure(url: string, flags: BenchServeFlags): Promise<void> {
  const options = serveBenchOptions(url, flags);
  const run = (status: (text: string) => void, signal: AbortSignal) => {
    let shown = Number.NEGATIVE_INFINITY;
    const onProgress = (progress: ServeProgress) => {
      const isFirst = progress.completed + progress.failed === 0;
      if (!isFirst && performance.now() - shown < statusMilliseconds) return;
      shown = performance.now();
      status(statusText(progress));
    };
    return withNotes(benchServe(options, { signal, onProgress }), status);
  };
  await runBench(flags.json ? { json: true } : {}, run, serveTables);
}

async function* withNotes(rows: AsyncIterable<NewRow>, status: (text: string) => void): AsyncGenerator<NewRow> {
  const notes = Output.stderr();
  for await (const row of rows) {
    status("");
    for (const note of notesOf(row)) notes.line(note);
    yield row;
  }
}

function statusText({ level, completed, failed, requests, outputTokens }: ServeProgress): string {
  const failures = failed > 0 ? `, ${failed} failed` : "";
  return `${level}: ${completed + failed} of ${requests} requests${failures}, ${outputTokens} tokens`;
}

/** From here on, the load generator delays its own measurements. */
const busyShare = 0.7;

function notesOf({ values, about }: NewRow): string[] {
  const [failed, completed, busy] = [values.failed!.median, values.completed!.median, values.clientBusy!.median];
  const notes: string[] = [];
  if (failed > 0)
    notes.push(`${failed} of ${failed + completed} requests failed; the first error was: ${about?.firstError}`);
  if (busy > busyShare)
    notes.push(`The load generator itself was busy for ${Math.round(100 * busy)} % of the time; it may be the limit`);
  return notes;
}
