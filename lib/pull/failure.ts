import { setTimeout as sleep } from "node:timers/promises";
import { abortReason, throwIfAborted } from "../common/abort.js";
import { GptOssError } from "../errors.js";

/** A request that failed and can be tried again. Its message completes the sentence "…: MESSAGE". */
export class TemporaryFailure extends Error {
  /** How long the server asked to wait; null: it did not. */
  readonly waitMilliseconds: number | null;

  constructor(
    message: string,
    { waitMilliseconds = null, cause }: { waitMilliseconds?: number | null; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.waitMilliseconds = waitMilliseconds;
  }
}

/** The hub's answer 4xx, for the caller that knows what was asked. */
export class Refusal extends Error {
  readonly status: number;
  /** The hub's `X-Error-Code`, such as `GatedRepo`; empty where there is none. */
  readonly errorCode: string;
  /** The request had a token. */
  readonly hadToken: boolean;

  constructor(status: number, errorCode: string, message: string, hadToken: boolean) {
    super(message);
    this.hadToken = hadToken;
    this.status = status;
    this.errorCode = errorCode;
  }
}

export interface Patience {
  /** How many times a request is sent at most. */
  tries: number;
  /** The pause before the second try; each further one is twice as long. */
  firstPauseMilliseconds: number;
}

/** A server that wants a longer pause than this gets none: the user decides. */
const longestWait = 5 * 60_000;
/** No server means a longer wait than a day: such a number is a mistake, and is not repeated. */
const longestTold = 24 * 3600_000;
/** The pauses that double end here. */
const longestPause = 30_000;

export interface TriesOptions extends Patience {
  /** What is asked for, for the message. */
  what: string;
  signal: AbortSignal;
  /** Called before each pause. */
  onPause?: (sentence: string) => void;
}

/**
 * Runs `work` until it succeeds, a try fails for good, or the tries are used up.
 *
 * @throws GptOssError DOWNLOAD when all tries failed
 */
export async function withTries<T>(work: () => Promise<T>, options: TriesOptions): Promise<T> {
  const { tries, firstPauseMilliseconds, what, signal, onPause } = options;
  for (let tried = 1; ; tried++) {
    throwIfAborted(signal);
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      if (!(error instanceof TemporaryFailure)) throw error;
      const asked = error.waitMilliseconds;
      if (asked !== null && asked > longestWait) {
        throw downloadError(
          `${what}: ${error.message}, and the server asks to wait ${waitText(asked)}; try again then`,
          error,
        );
      }
      if (tried >= tries) {
        throw downloadError(
          `${what}: ${error.message}, ${tries} times; the same call goes on where this one stopped`,
          error,
        );
      }
      const doubled = Math.min(firstPauseMilliseconds * 2 ** (tried - 1), longestPause);
      const pause = asked ?? doubled * (0.75 + Math.random() / 2);
      onPause?.(`${error.message}; try ${tried + 1} of ${tries} in ${Math.ceil(pause / 1000)} s`);
      await sleep(pause, undefined, { signal }).catch(() => {
        throw abortReason(signal);
      });
    }
  }
}

function waitText(milliseconds: number): string {
  return milliseconds > longestTold ? "more than a day" : `${Math.ceil(milliseconds / 1000)} s`;
}

export function downloadError(message: string, cause?: unknown): GptOssError {
  return new GptOssError("DOWNLOAD", message, { cause });
}
