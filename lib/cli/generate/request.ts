import { readFileSync } from "node:fs";
import { Engine } from "../../engine.js";
import { GptOssError, refusalOf } from "../../errors.js";
import type { OutputFormat } from "../../generation/constraint.js";
import type { GenerateOptions } from "../../generation/generate-options.js";
import { exitCodes, UsageError } from "../exit.js";

/** What a conversation and a plain completion have in common. */
export interface CompletionRequest {
  sampling: GenerateOptions;
  n: number;
  stop: readonly string[];
  /** Number of likely tokens to show for each position; null: no log probabilities. */
  logprobs: number | null;
  format: OutputFormat | null;
  json: boolean;
  speed: boolean;
}

/**
 * Reads a schema from the command line, or from a file.
 *
 * @throws UsageError; GptOssError RESOURCE_LIMIT or OUT_OF_MEMORY when the system refuses to open the file
 */
export function readSchema(argument: string): OutputFormat {
  const isInline = /^\s*(\{|true\s*$|false\s*$)/.test(argument);
  let text = argument;
  try {
    if (!isInline) text = readFileSync(argument, "utf8");
  } catch (error) {
    const message = `The schema for --schema cannot be read: ${(error as Error).message}`;
    const refusal = refusalOf(error);
    throw refusal === undefined ? new UsageError(message) : new GptOssError(refusal, message, { cause: error });
  }
  const schema = parsed(text, isInline ? "" : ` in ${argument}`);
  const isSchema = typeof schema === "boolean" || (schema !== null && typeof schema === "object");
  if (!isSchema || Array.isArray(schema))
    throw new UsageError("Expected a JSON schema, which is an object, for --schema");
  return { type: "json_schema", schema: schema as Record<string, unknown> | boolean };
}

function parsed(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`The schema${place} for --schema is not JSON: ${(error as Error).message}`);
  }
}

/**
 * Checks that the engine supports the format, before minutes are spent on loading: a small synthetic model compiles
 * it at once.
 *
 * @throws GptOssError INVALID_ARGUMENT or UNSUPPORTED, by name
 */
export async function checkFormat(format: OutputFormat): Promise<void> {
  await using engine = await Engine.load("synthetic:wide", {
    backend: "cpu",
    threads: 1,
    maxSequences: 1,
    contextLength: 64,
    kvCache: { bytes: "4MiB" },
  });
  await engine.generate([0], { constraint: { kind: "text", format }, maxTokens: 1 }).result;
}

/** Ctrl-C ends the completion. What was written is shown, and the exit code says that it was interrupted. */
export class Interruption implements Disposable {
  readonly #interrupt: () => void;

  constructor(run: { cancel(): void }) {
    this.#interrupt = () => {
      process.exitCode = exitCodes.interrupted;
      run.cancel();
    };
    process.once("SIGINT", this.#interrupt); // a second Ctrl-C ends the process at once
  }

  [Symbol.dispose](): void {
    process.off("SIGINT", this.#interrupt);
  }
}
