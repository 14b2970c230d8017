import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { errorSentence, exitCodes } from "./exit.js";

/** What happens when nobody takes what the program prints. */

/** Writes all of the text, or ends the program: what was asked for cannot be given. */
export function writeOut(text: string): void {
  try {
    write(process.stdout, text);
  } catch (error) {
    outputFailed(error as NodeJS.ErrnoException);
  }
}

/** Writes what is told beside the output; when that is not possible, the work goes on without it. */
export function writeNote(text: string): void {
  try {
    write(process.stderr, text);
  } catch {
    // There is no place to tell of it.
  }
}

/** Tells what is wrong, in one sentence. */
export function reportError(error: unknown): void {
  writeNote(`${errorSentence(error)}\n`);
}

/** Errors of pipes and terminals arrive later than those of files. */
export function watchStdio(): void {
  process.stdout.on("error", outputFailed);
  process.stderr.on("error", () => {});
}

function outputFailed(error: NodeJS.ErrnoException): void {
  // A reader that has seen enough, as `head` has, is no failure.
  if (error.code === "EPIPE") process.exit(exitCodes.success);
  reportError(
    Object.assign(new Error(`The output could not be written: ${error.message}`, { cause: error }), {
      code: error.code,
    }),
  );
  process.exit(exitCodes.failure);
}

/** Node's own stream loses the rest of a text when a full disk takes only the beginning, and says nothing. */
function write(stream: NodeJS.WriteStream & { fd: number }, text: string): void {
  const isFile = !((stream as object) instanceof Socket);
  if (!isFile) {
    stream.write(text);
    return;
  }
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) done += writeSync(stream.fd, bytes, done);
}
