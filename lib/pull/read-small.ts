import { readFile, stat } from "node:fs/promises";
import { GptOssError } from "../errors.js";

/** A record or an index with more bytes is none. */
const mostBytes = 64 * 1024 * 1024;

/**
 * Reads a text that lies beside a model. Reading a named pipe would wait for a writer forever, so only regular files are
 * read.
 *
 * @returns null where there is no such file
 * @throws GptOssError MODEL_FORMAT for more than 64 MiB
 */
export async function readSmall(file: string): Promise<string | null> {
  const found = await stat(file).catch(() => null);
  if (!found?.isFile()) return null;
  if (found.size <= mostBytes) return readFile(file, "utf8");
  throw new GptOssError("MODEL_FORMAT", `${file}: expected at most ${mostBytes} bytes, found ${found.size}`);
}
