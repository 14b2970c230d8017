import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import path from "node:path";

/** A checkpoint of any size: all shards of a folder, read piece by piece. */

export interface StoredTensor {
  name: string;
  dtype: "BF16" | "U8";
  shape: number[];
  bytes: number;
}

export class Checkpoint implements Disposable {
  readonly #files: number[] = [];
  readonly #tensors = new Map<string, StoredTensor & { file: number; offset: number }>();

  constructor(folder: string) {
    for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors"))) {
      const file = openSync(path.join(folder, name), "r");
      this.#files.push(file);
      this.#readHeader(file);
    }
  }

  tensor(name: string): StoredTensor {
    return this.#entry(name);
  }

  /** Reads `bytes` of a tensor from byte `start` on; by default all of them. */
  read(name: string, start = 0, bytes = this.#entry(name).bytes - start): Buffer {
    const { file, offset } = this.#entry(name);
    return readExactly(file, offset + start, bytes);
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) closeSync(file);
  }

  #entry(name: string) {
    const found = this.#tensors.get(name);
    if (!found) throw new Error(`The checkpoint has no tensor ${name}`);
    return found;
  }

  #readHeader(file: number): void {
    const length = Number(readExactly(file, 0, 8).readBigUInt64LE());
    const header = JSON.parse(readExactly(file, 8, length).toString()) as Record<
      string,
      { dtype: "BF16" | "U8"; shape: number[]; data_offsets: [number, number] }
    >;
    for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const [begin, end] = offsets;
      this.#tensors.set(name, { name, dtype, shape, bytes: end - begin, file, offset: 8 + length + begin });
    }
  }
}

export function readExactly(file: number, position: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let done = 0; done < bytes; ) {
    const got = readSync(file, buffer, done, bytes - done, position + done);
    if (got === 0) throw new Error(`Expected ${bytes} bytes at ${position}, found the end of the file`);
    done += got;
  }
  return buffer;
}
