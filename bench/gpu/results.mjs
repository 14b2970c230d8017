// The result of gpu:check: a file of JSON lines, each appended as soon as it is known. A run that is cut keeps its
// lines.
//
//   {"gpu":…,"driver":…,"date":…,"commit":…}                     the first line
//   {"bench":"roofs"|"decode"|"kernels"|…}                        a measurement; bench/README.md has the list
//   {"bench":"test","step":…,"case":…,"result":…}                a case that ran in a separate process
//   {"bench":"log","step":…,"text":…}                            a message of a step
//   {"bench":"step","step":…,"passed":…,"failed":…,"skipped":…,"seconds":…}    the end of a step, or why it did not run
//   {"bench":"cut","step":…,"signal":…}                          the run was ended from outside during this step
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const word = (text) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^-+|-+$/g, "");

export class Results {
  #hidden;

  /** @param hidden paths of this machine, which are removed from the file */
  constructor({ gpu, driver, date, commit, folder, hidden = [] }) {
    this.#hidden = hidden;
    const time = date.toISOString();
    // With the time of day, so that each run of a day has a separate file.
    const name = `${word(gpu)}-${time.slice(0, 16)}-${commit.replace("+", "-dirty")}`;
    this.file = path.join(folder, `${word(name)}.jsonl`);
    this.totals = { passed: 0, failed: 0, skipped: 0 };
    this.roofs = {};
    this.rows = [];
    mkdirSync(folder, { recursive: true });
    writeFileSync(this.file, `${JSON.stringify({ gpu, driver, date: time, commit })}\n`);
  }

  add(row) {
    if (row.bench === "roofs") this.roofs = row;
    this.rows.push(row);
    appendFileSync(this.file, `${JSON.stringify(row)}\n`);
  }

  /** Adds the message of a step, a row for each line. */
  log(step, text) {
    const shown = this.#hidden.reduce((rest, path) => rest.replaceAll(path, "."), text);
    for (const line of shown.split("\n"))
      if (line.trim()) this.add({ bench: "log", step, text: line.trimEnd().slice(0, 2000) });
  }

  /** Adds the end of a step. */
  end(step, { passed = 0, failed = 0, skipped = 0 }, more = {}) {
    this.totals.passed += passed;
    this.totals.failed += failed;
    this.totals.skipped += skipped;
    this.add({ bench: "step", step, passed, failed, skipped, ...more });
  }
}

/** Returns { head, rows } of a file, without a last line that was cut in the middle. */
export function readResults(file) {
  const [head, ...rows] = jsonLines(readFileSync(file, "utf8"));
  return { head, rows };
}

/** Returns the lines of a text that are JSON objects. */
export function jsonLines(text) {
  return text.split("\n").flatMap((line) => jsonLine(line) ?? []);
}

/** Returns the object of a line, or undefined. */
export function jsonLine(line) {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // cut off where the process was ended
  }
}
