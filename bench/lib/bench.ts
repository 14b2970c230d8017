import { Bench } from "tinybench";
import type { BenchParameters, BenchUnit, NewRow } from "../../lib/bench/rows.js";
import { measured } from "../../lib/bench/statistics.js";

/** What the benches of the TypeScript layer share: turns of several functions, and the rows of their times. */

export interface LibBench {
  /** Texts by name. */
  corpus: Record<string, string>;
  /** Turns of each measurement. */
  rounds: number;
  /** Characters of the texts on which the peers are quadratic. */
  peerTraps: number;
  note: (text: string) => void;
}

/** The benches of a file by their names, which `--only` takes. */
export type LibBenches = Record<string, (bench: LibBench) => Iterable<NewRow> | AsyncIterable<NewRow>>;

export type Calls = Record<string, () => unknown>;

/** Milliseconds of each call, by the names of the calls. */
export type Times = Record<string, number[]>;

/** CPU time of this process in milliseconds. The wall clock would also count other programs. */
export function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Milliseconds of CPU time of each call, a number per round: the median of its samples in about `milliseconds`. */
export function timesOf(calls: Calls, rounds: number, milliseconds = 60): Times {
  round(calls, 0, milliseconds); // caches, tiers of the compiler
  const times: Times = Object.fromEntries(Object.keys(calls).map((name) => [name, []]));
  for (let turn = 0; turn < rounds; turn++)
    for (const [name, time] of Object.entries(round(calls, turn, milliseconds))) times[name]!.push(time);
  return times;
}

/** The order rotates with the round. */
function round(calls: Calls, turn: number, milliseconds: number): Record<string, number> {
  const bench = new Bench({
    now: cpuMilliseconds,
    time: milliseconds,
    iterations: 1,
    warmup: false,
    retainSamples: true,
  });
  const names = Object.keys(calls);
  const repeats: Record<string, number> = {};
  for (let i = 0; i < names.length; i++) {
    const name = names[(i + turn) % names.length]!;
    const call = calls[name]!;
    const started = cpuMilliseconds();
    call();
    // A sample lasts at least 2 ms, so that the clock's steps of 1 µs do not show.
    const repeat = Math.min(1000, Math.max(1, Math.ceil(2 / Math.max(cpuMilliseconds() - started, 0.002))));
    repeats[name] = repeat;
    bench.add(name, () => {
      for (let k = 0; k < repeat; k++) call();
    });
  }
  bench.runSync();
  return Object.fromEntries(bench.tasks.map((task) => [task.name, medianOf(task) / repeats[task.name]!]));
}

export function medianOf({ name, result }: Bench["tasks"][number]): number {
  if (result.state !== "completed") throw new Error(`${name} did not complete: ${result.state}`);
  return result.latency.p50;
}

export interface RowsOfCalls {
  name: string;
  parameters: BenchParameters;
  times: Times;
  /** The unit of `time`. */
  unit: Extract<BenchUnit, "us" | "ms">;
  /** Tokens of a call: then the row has a throughput. */
  tokens?: number;
  /** Which time was taken: of the process, of its first thread, or of a clock on the wall. */
  clock?: "process" | "thread" | "wall";
  /** The call that is compared with the fastest other one of the same round. */
  compared?: string;
}

/** A row for each call. */
export function* rowsOf(of: RowsOfCalls): Generator<NewRow> {
  const { name, parameters, times, unit, tokens, clock = "process", compared } = of;
  for (const [call, list] of Object.entries(times)) {
    const others = Object.keys(times).filter((other) => other !== call);
    const ratios = list.map((time, i) => Math.min(...others.map((other) => times[other]![i]!)) / time);
    yield {
      bench: "lib",
      name,
      parameters: { call, ...parameters, ...(tokens !== undefined && { tokens }) },
      values: {
        time: measured(
          list.map((ms) => (unit === "us" ? 1000 * ms : ms)),
          unit,
          "less",
        ),
        ...(tokens !== undefined && {
          throughput: measured(
            list.map((ms) => (1000 * tokens) / ms),
            "tokens/s",
            "more",
          ),
        }),
        ...(call === compared && others.length > 0 && { ofFastestPeer: measured(ratios, "share", "more") }),
      },
      about: { clock },
    };
  }
}
