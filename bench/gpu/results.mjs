// The result of gpu:check: a file of JSON lines, each appended as soon as it is known. A run that is cut keeps what it had.
//
//   {"gpu":…,"driver":…,"date":…,"commit":…}                     the first line
//   {"bench":"roofs"|"decode"|"kernel"|…}                        what was measured; bench/README.md has the list
//   {"bench":"test","step":…,"case":…,"result":…}                a case that ran in a process of its own
//   {"bench":"log","step":…,"text":…}                            what a step said
//   {"bench":"step","step":…,"passed":…,"failed":…,"skipped":…,"seconds":…}    how a step ended, or why it was left out
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

  /** @param hidden paths of this machine, which stay out of the file */
  constructor({ gpu, driver, date, commit, folder, hidden = [] }) {
    this.#hidden = hidden;
    const time = date.toISOString();
    // With the time of day: a second command of the same day has a file of its own.
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

  /** What a step said, a row for each line. */
  log(step, text) {
    const shown = this.#hidden.reduce((rest, path) => rest.replaceAll(path, "."), text);
    for (const line of shown.split("\n"))
      if (line.trim()) this.add({ bench: "log", step, text: line.trimEnd().slice(0, 2000) });
  }

  /** How a step ended. */
  end(step, { passed = 0, failed = 0, skipped = 0 }, more = {}) {
    this.totals.passed += passed;
    this.totals.failed += failed;
    this.totals.skipped += skipped;
    this.add({ bench: "step", step, passed, failed, skipped, ...more });
  }
}

/** { head, rows } of a file; a last line that was cut in the middle is left out. */
export function readResults(file) {
  const [head, ...rows] = jsonLines(readFileSync(file, "utf8"));
  return { head, rows };
}

/** The lines of a text that are JSON objects. */
export function jsonLines(text) {
  return text.split("\n").flatMap((line) => jsonLine(line) ?? []);
}

/** The object that a line is, or undefined. */
export function jsonLine(line) {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // cut off where the process was ended
  }
}
