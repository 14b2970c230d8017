import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { errorSentence, exitCodes } from "./exit.js";

/** Writes to stdout and stderr, and handles output that cannot be written. */

/** Writes all of the text. If that fails, the program ends, because it cannot give its result. */
export function writeOut(text: string): void {
  try {
    write(process.stdout, text);
  } catch (error) {
    outputFailed(error as NodeJS.ErrnoException);
  }
}

/** Writes a note to stderr. If that fails, the work goes on without it. */
export function writeNote(text: string): void {
  try {
    write(process.stderr, text);
  } catch {
    // stderr is gone, so nothing can be reported.
  }
}

/** Reports an error in one sentence. */
export function reportError(error: unknown): void {
  writeNote(`${errorSentence(error)}\n`);
}

/** Errors of pipes and terminals arrive later than those of files. */
export function watchStdio(): void {
  process.stdout.on("error", outputFailed);
  process.stderr.on("error", () => {});
}

function outputFailed(error: NodeJS.ErrnoException): void {
  // A reader that stops early, such as `head`, is no failure.
  if (error.code === "EPIPE") process.exit(exitCodes.success);
  reportError(
    Object.assign(new Error(`The output could not be written: ${error.message}`, { cause: error }), {
      code: error.code,
    }),
  );
  process.exit(exitCodes.failure);
}

/** When a full disk takes only a part of a text, Node's own stream loses the rest without an error. */
function write(stream: NodeJS.WriteStream & { fd: number }, text: string): void {
  const isFile = !((stream as object) instanceof Socket);
  if (!isFile) {
    stream.write(text);
    return;
  }
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) done += writeSync(stream.fd, bytes, done);
}
