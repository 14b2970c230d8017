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

/**
 * Names the reason where Node could not tell the working directory: any relative path of any command needs it.
 *
 * @returns the error as it came, where it has another reason
 */
export function explained(error: unknown): unknown {
  const { code, syscall } = firstCause(error);
  if (syscall !== "uv_cwd") return error;
  const message = `The working directory was deleted or cannot be read (${code}); change to another one with cd, and run the command again`;
  return new GptOssError("INVALID_ARGUMENT", message, { cause: error });
}

function firstCause(error: unknown): NodeJS.ErrnoException {
  const { cause } = (error ?? {}) as Error;
  return cause instanceof Error ? firstCause(cause) : ((error ?? {}) as NodeJS.ErrnoException);
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
