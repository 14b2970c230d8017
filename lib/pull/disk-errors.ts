import { GptOssError, refusalOf } from "../errors.js";

/** Errors of the system about files, as errors of this package. Other errors are returned as they came. */

const isFull = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** @param folder where the model is written */
export function writeError(error: unknown, folder: string): unknown {
  if (!isOfSystem(error)) return error;
  const { code, message } = error;
  if (isFull.has(code)) {
    const sentence = `The disk of ${folder} took no more bytes (${code}); make room, and the same call goes on where this one stopped`;
    return new GptOssError("RESOURCE_LIMIT", sentence, { cause: error });
  }
  const sentence = `The download could not be written in ${folder} (${message}); the same call goes on where this one stopped`;
  return new GptOssError(refusalOf(error) ?? "DOWNLOAD", sentence, { cause: error });
}

/** @param model what was to be read */
export function readError(error: unknown, model: string): unknown {
  if (!isOfSystem(error)) return error;
  return new GptOssError(refusalOf(error) ?? "MODEL_NOT_FOUND", `${model} could not be read (${error.message})`, {
    cause: error,
  });
}

function isOfSystem(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && "syscall" in error && "code" in error;
}
