import { addon } from "./binding.js";
import { areReasoningKeys, expectedReasoningKeys, reasoningKeysIn } from "./common/reasoning-key.js";
import { GptOssError } from "./errors.js";

/** The environment variables of this package: their permitted values, and checks. */

/** All variables that are read, with their purpose. */
const known = {
  GPT_OSS_BACKEND: 'where to compute when `backend` is "auto"',
  GPT_OSS_DUMP: "an empty folder for the tensors of every step",
  GPT_OSS_ISA: "the instruction set of the CPU backend",
  GPT_OSS_MODEL: "the model of the command line",
  GPT_OSS_REASONING_KEY: "the secret that seals reasoning for clients of a server",
  GPT_OSS_TRACE: "a file for the trace",
} as const;

/** `GPT_OSS_BACKEND`, or `"auto"` where it is not set. @throws GptOssError INVALID_ARGUMENT for an invalid backend. */
export function backendOfEnvironment(): string {
  const backend = process.env.GPT_OSS_BACKEND || "auto";
  if (isBackend(backend)) return backend;
  throw new GptOssError(
    "INVALID_ARGUMENT",
    `GPT_OSS_BACKEND is ${JSON.stringify(backend)}, expected one of ${backendNames}`,
  );
}

export const backendNames = '"auto", "cpu", "cuda", "cuda:N" or "metal"';

export function isBackend(name: string): boolean {
  return /^(auto|cpu|metal|cuda(:\d+)?)$/.test(name);
}

/** `GPT_OSS_MODEL`, if it is set: a path or a name, which is resolved where it is used. */
export function modelOfEnvironment(): string | undefined {
  return process.env.GPT_OSS_MODEL || undefined;
}

/**
 * The secrets of `GPT_OSS_REASONING_KEY`, one in each line, if it is set.
 *
 * @throws GptOssError INVALID_ARGUMENT, which does not quote a secret
 */
export function reasoningKeysOfEnvironment(): readonly string[] | undefined {
  const text = process.env.GPT_OSS_REASONING_KEY || undefined;
  if (text === undefined) return undefined;
  const keys = reasoningKeysIn(text).map(({ key }) => key);
  if (areReasoningKeys(keys)) return keys;
  throw new GptOssError("INVALID_ARGUMENT", `Expected ${expectedReasoningKeys} in GPT_OSS_REASONING_KEY`);
}

/** Whether programs that list the environment must not show the value. */
export function isSecret(name: string): boolean {
  return name === "GPT_OSS_REASONING_KEY";
}

/**
 * Returns the problem of each invalid variable, except GPT_OSS_MODEL. `unread`: set variables with a name of this package
 * that it does not read.
 */
export function examineEnvironment(): { problems: Record<string, string>; unread: string[] } {
  const problems = { ...addon().environmentProblems() };
  const checks = { GPT_OSS_BACKEND: backendOfEnvironment, GPT_OSS_REASONING_KEY: reasoningKeysOfEnvironment };
  for (const [name, check] of Object.entries(checks)) {
    try {
      check();
    } catch (error) {
      problems[name] = (error as Error).message;
    }
  }
  const unread = Object.keys(process.env).filter((name) => name.startsWith("GPT_OSS_") && !Object.hasOwn(known, name));
  return { problems, unread };
}
