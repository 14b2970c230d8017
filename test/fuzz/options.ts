import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";

/** Parses a fuzzer's options `--seed` (default: random) and `--<what>`. Ends the process for any other option. */
export function fuzzOptions(what: string, usual: number, seeds: number): { seed: number; count: number } {
  const { values } = parseArgs({ options: { seed: { type: "string" }, [what]: { type: "string" } } });
  const seed = values.seed === undefined ? randomInt(seeds) : Number(values.seed);
  const count = Number(values[what] ?? usual);
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(count) || count < 1) {
    process.stderr.write(`Expected integers for --seed and --${what}\n`);
    process.exit(2);
  }
  process.stderr.write(`seed ${seed}, ${count} ${what}\n`);
  return { seed, count };
}

/** Reports the progress at each hundredth. */
export function progress(count: number): (done: number) => void {
  let told = 0;
  return (done) => {
    if (done < told) return;
    process.stderr.write(`${Math.floor((100 * done) / count)} %\r`);
    told += count / 100;
  };
}
