import { expect } from "vitest";
import type { GptOssError } from "../../lib/errors.js";

/**
 * Returns the error of work that must fail, whether the call throws or its promise rejects. The error has the type that
 * most tests expect; a test that expects another error compares it as it is.
 */
export async function failure(work: Promise<unknown> | (() => unknown)): Promise<GptOssError> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    return error as GptOssError;
  }
  return expect.fail("no error was thrown");
}
