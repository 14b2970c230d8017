// The start of a check: its session and its result file, which is told when the run is ended from outside.
import { homedir } from "node:os";
import path from "node:path";
import { Results } from "./results.mjs";
import { findCommit, root, Session } from "./session.mjs";

/**
 * @param found { gpu, driver } for the first line of the file
 * @param options those of the command line: `emulated` and `out` are used here
 * @param backend the one that is checked
 */
export function begin({ found, options, backend }) {
  const session = new Session({ emulated: options.emulated, options, backend });
  const folder = options.out ?? (options.emulated ? session.scratch : path.join(root, "bench/results"));
  session.results = new Results({
    ...{ ...found, date: new Date(), commit: findCommit() },
    folder: path.resolve(folder),
    hidden: [root, session.scratch, homedir()],
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.once(signal, () => {
      session.results.add({ bench: "cut", step: session.step, signal });
      process.exit(1); // also ends the children
    });
  }
  return session;
}
