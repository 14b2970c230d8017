/** Token ids by key, within a number of bytes; what was not asked for the longest is forgotten first. */
export class TokenCache {
  private readonly entries = new Map<string, Uint32Array>(); // in the order of use
  private readonly maxBytes: number;
  private bytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  get(key: string): Uint32Array | undefined {
    const tokens = this.entries.get(key);
    if (tokens !== undefined) {
      this.entries.delete(key);
      this.entries.set(key, tokens);
    }
    return tokens;
  }

  set(key: string, tokens: Uint32Array): void {
    this.delete(key);
    const size = sizeOf(key, tokens);
    if (size > this.maxBytes) return;
    for (const oldest of this.entries.keys()) {
      if (this.bytes + size <= this.maxBytes) break;
      this.delete(oldest);
    }
    this.entries.set(key, tokens);
    this.bytes += size;
  }

  /** Of all entries together. */
  get byteLength(): number {
    return this.bytes;
  }

  private delete(key: string): void {
    const tokens = this.entries.get(key);
    if (tokens === undefined) return;
    this.entries.delete(key);
    this.bytes -= sizeOf(key, tokens);
  }
}

const entryBytes = 200; // of a typed array, its buffer and its place in the map, about

function sizeOf(key: string, tokens: Uint32Array): number {
  return tokens.byteLength + key.length + entryBytes;
}
