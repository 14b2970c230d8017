import { type FileHandle, open, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import { makeFolder } from "../common/make-folder.js";
import { GptOssError } from "../errors.js";
import { partialName } from "./partial-name.js";

/**
 * The pack is one safetensors file. It has every tensor of a checkpoint under its official name, and the text of
 * config.json in the metadata. Of the two token tables it has only the rows that `tokens` lists. All other rows are
 * zero. In the expanded file they are holes, so that its 105 MB take 19 MB of disk.
 */

const tables = new Set(["model.embed_tokens.weight", "lm_head.weight"]);
const bf16Bytes = 2;
const chunkBytes = 4 << 20; // compared at once

interface Tensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

interface Piece {
  position: number;
  bytes: Uint8Array;
}

/** The required content of the disk: two files. The second is given by its length and its nonzero pieces. */
export interface Expansion {
  config: string;
  modelBytes: number;
  pieces: Piece[];
}

/** @throws GptOssError MODEL_FORMAT when this is not a pack, or only a part of a pack. */
export function expandPack(pack: Uint8Array): Expansion {
  try {
    return expand(Buffer.from(pack.buffer, pack.byteOffset, pack.byteLength));
  } catch (cause) {
    throw new GptOssError("MODEL_FORMAT", "The pack of the demo model is damaged; reinstall this package", { cause });
  }
}

function expand(pack: Buffer): Expansion {
  const headerEnd = 8 + Number(pack.readBigUInt64LE(0));
  const { __metadata__: metadata, ...tensors } = JSON.parse(pack.toString("utf8", 8, headerEnd)) as {
    __metadata__: Record<string, string>;
  } & Record<string, Tensor>;
  if (metadata.format !== "gpt-oss-demo-pack" || metadata.version !== "1") throw new Error("not a version 1 pack");
  const config = metadata.config!;
  const { vocab_size: vocab, hidden_size: hidden } = JSON.parse(config) as { vocab_size: number; hidden_size: number };

  const content = ({ data_offsets: [begin, end] }: Tensor) => {
    if (headerEnd + end > pack.length) throw new Error("the file is cut off");
    return pack.subarray(headerEnd + begin, headerEnd + end);
  };
  const { tokens: tokenTensor, ...weights } = tensors;
  const tokenBytes = content(tokenTensor!);
  const tokens = Array.from({ length: tokenTensor!.shape[0]! }, (_, i) => tokenBytes.readInt32LE(4 * i));

  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let length = 0;
  for (const [name, tensor] of Object.entries(weights)) {
    const bytes = tables.has(name) ? vocab * hidden * bf16Bytes : content(tensor).length;
    const shape = tables.has(name) ? [vocab, hidden] : tensor.shape;
    header[name] = { dtype: tensor.dtype, shape, data_offsets: [length, length + bytes] };
    length += bytes;
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const headerLength = Buffer.alloc(8);
  headerLength.writeBigUInt64LE(BigInt(padded.length));

  const base = headerLength.length + padded.length;
  const pieces: Piece[] = [{ position: 0, bytes: Buffer.concat([headerLength, padded]) }];
  for (const [name, tensor] of Object.entries(weights)) {
    const position = base + (header[name] as Tensor).data_offsets[0];
    if (tables.has(name)) pieces.push(...rows(content(tensor), tokens, hidden * bf16Bytes, position));
    else pieces.push({ position, bytes: content(tensor) });
  }
  return { config, modelBytes: base + length, pieces };
}

/** Returns the rows of a table with their positions. Adjacent rows become one piece. */
function rows(bytes: Buffer, tokens: number[], rowBytes: number, tablePosition: number): Piece[] {
  const pieces: Piece[] = [];
  for (let first = 0, next = 1; first < tokens.length; first = next++) {
    while (next < tokens.length && tokens[next] === tokens[next - 1]! + 1) next++;
    pieces.push({
      position: tablePosition + tokens[first]! * rowBytes,
      bytes: bytes.subarray(first * rowBytes, next * rowBytes),
    });
  }
  return pieces;
}

/**
 * Whether the folder holds the expansion, byte for byte. The files may be damaged, and a comparison takes 0.1 s of CPU
 * time.
 */
export async function isExpanded(folder: string, expansion: Expansion): Promise<boolean> {
  try {
    const config = await readFile(path.join(folder, "config.json"), "utf8");
    if (config !== expansion.config) return false;
    const file = await open(path.join(folder, "model.safetensors"));
    try {
      return await holds(file, expansion);
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

async function holds(file: FileHandle, { modelBytes, pieces }: Expansion): Promise<boolean> {
  const info = await file.stat();
  if (!info.isFile() || info.size !== modelBytes) return false;
  const [found, expected] = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)];
  let next = 0; // the first piece that ends after the start of the chunk
  for (let begin = 0; begin < modelBytes; begin += chunkBytes) {
    const end = Math.min(begin + chunkBytes, modelBytes);
    expected.fill(0);
    for (let i = next; i < pieces.length && pieces[i]!.position < end; i++) {
      const { position, bytes } = pieces[i]!;
      const [from, to] = [Math.max(position, begin), Math.min(position + bytes.length, end)];
      expected.set(bytes.subarray(from - position, to - position), from - begin);
      if (position + bytes.length <= end) next = i + 1;
    }
    if (!(await readAll(file, found, end - begin, begin))) return false;
    if (found.compare(expected, 0, end - begin, 0, end - begin) !== 0) return false;
  }
  return true;
}

async function readAll(file: FileHandle, into: Buffer, bytes: number, position: number): Promise<boolean> {
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await file.read(into, done, bytes - done, position + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}

/**
 * Writes the two files into the folder. Each gets a temporary name first, and is renamed when it is complete and on the
 * disk. So a file under its final name is whole, even after a crash of the process or the machine. Concurrent processes
 * replace each other's files with equal ones, and a process with an open file keeps that file.
 */
export async function writeExpansion(folder: string, expansion: Expansion): Promise<void> {
  await makeFolder(folder);
  await replaceFile(folder, "model.safetensors", expansion, async (file) => {
    await file.truncate(expansion.modelBytes); // all bytes that are not written below read as zero
    for (const { position, bytes } of expansion.pieces) await writeAt(file, bytes, position);
  });
  await replaceFile(folder, "config.json", expansion, (file) => file.writeFile(expansion.config));
}

async function replaceFile(
  folder: string,
  name: string,
  expansion: Expansion,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const temporary = path.join(folder, partialName(name));
  try {
    const file = await open(temporary, "wx");
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path.join(folder, name));
  } catch (error) {
    await rm(temporary, { force: true });
    // Windows does not replace a file that another process has open. That process has then written the same file.
    if (!(await isExpanded(folder, expansion))) throw error;
  }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
