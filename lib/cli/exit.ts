import { CommanderError } from "commander";
import { GptOssError } from "../errors.js";
import { harmless } from "./terminal/harmless.js";

/** Exit codes of the program. */
export const exitCodes = { success: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** The command line is wrong. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Ctrl-C before there was a result. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** One sentence that says what is wrong and its code. */
export function errorSentence(error: unknown): string {
  return harmless(`gpt-oss: ${described(error)}`.replaceAll("\n", " "));
}

function described(error: unknown): string {
  if (error instanceof GptOssError) return `${error.message} (${error.code})`;
  if (error instanceof UsageError) return `${error.message} (USAGE)`;
  if (error instanceof Error) return `${error.message} (${(error as NodeJS.ErrnoException).code ?? "INTERNAL"})`;
  return `${String(error)} (INTERNAL)`;
}

/** A wrong value of an option is wrong usage, also when the engine finds it. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.success : exitCodes.usage;
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof Interrupted) return exitCodes.interrupted;
  return error instanceof GptOssError && error.code === "INVALID_ARGUMENT" ? exitCodes.usage : exitCodes.failure;
}
