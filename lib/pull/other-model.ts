import { GptOssError } from "../errors.js";
import { architectureIn, ggufStartBytes, otherModelOfConfig, otherModelOfGguf } from "../models/index.js";
import { drop } from "./body.js";
import type { Connection } from "./connection.js";
import { downloadError, type Patience, withTries } from "./failure.js";
import { newHash } from "./file-hash.js";
import { addressOf, type RemoteFile, type RemoteSource } from "./remote-file.js";
import type { Selection } from "./selection.js";

/** A repository of another model is refused before its weights are fetched: a few bytes say which model it has. */

const mostConfigBytes = 2 ** 20;

/** The beginning of a file that says which model it is of. */
export interface Telling {
  file: RemoteFile;
  bytes: number;
}

/** @returns null where no file says it, as in a repository with weights alone */
export function tellingPart({ files, folder, file }: Selection): Telling | null {
  const name = file ?? (folder === "" ? "config.json" : `${folder}/config.json`);
  const found = files.find((one) => one.name === name);
  if (found === undefined || (file !== null && found.size === 0)) return null;
  if (file !== null) return { file: found, bytes: Math.min(found.size, ggufStartBytes) };
  return found.size <= mostConfigBytes ? { file: found, bytes: found.size } : null;
}

/**
 * A part that names no model is left to the loader.
 *
 * @throws GptOssError UNSUPPORTED for a part that names another model; MODEL_FORMAT for a config that is no object
 */
export function refuseOtherModel({ file }: Telling, part: Buffer, repository: string): void {
  const isGguf = file.name.endsWith(".gguf");
  const other = isGguf ? otherModelOfGguf(architectureIn(part)) : otherModelOfConfig(configIn(part, file, repository));
  if (other === null) return;
  const message = `${repository} is not a gpt-oss model: ${file.name} has ${other}; its weights were not downloaded`;
  throw new GptOssError("UNSUPPORTED", message, { field: "repository" });
}

/** A config whose hash is wrong says nothing: it is fetched again with the other files. */
function configIn(bytes: Buffer, { name, algorithm, size, hash }: RemoteFile, repository: string): object | null {
  if (newHash(algorithm, size).update(bytes).digest("hex") !== hash) return null;
  const config = parsed(bytes);
  if (typeof config === "object" && config !== null && !Array.isArray(config)) return config;
  const found = config === undefined ? "no JSON" : Array.isArray(config) ? "an array" : "a single value";
  const message = `${repository} has no usable config: expected a JSON object in ${name}, found ${found}; its weights were not downloaded`;
  throw new GptOssError("MODEL_FORMAT", message, { field: "repository" });
}

/** Returns undefined for what is no JSON. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

/** Fetches the part into memory. @throws Refusal, or GptOssError DOWNLOAD */
export function fetchPart(
  { file, bytes }: Telling,
  source: RemoteSource,
  {
    connection,
    ...tries
  }: Patience & { connection: Connection; signal: AbortSignal; onPause: (sentence: string) => void },
): Promise<Buffer> {
  if (bytes === 0) return Promise.resolve(Buffer.alloc(0)); // no range has no bytes
  const address = addressOf(source, file.name);
  const read = async () => {
    const { status, body, chunks } = await connection.get(address, { range: `bytes=0-${bytes - 1}` }, tries.signal);
    if (status !== 206 && status !== 200) {
      throw downloadError(`${file.name}: expected status 206 or 200 but received ${status}`);
    }
    try {
      return await firstBytes(chunks, bytes);
    } finally {
      drop(body);
    }
  };
  return withTries(read, { ...tries, what: file.name });
}

/** A server without ranges sends the whole file, and more than the part is not read. */
async function firstBytes(chunks: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    length += chunk.length;
    if (length >= most) break;
  }
  return Buffer.concat(parts).subarray(0, most);
}
