/** A part of a file: from `start` to before `end`, in bytes. */
export interface Range {
  start: number;
  end: number;
}

/** The parts of a file that are there, sorted and without overlaps. */
export class Ranges {
  #parts: Range[] = [];

  add({ start, end }: Range): void {
    if (start >= end) return;
    const touching = this.#parts.filter((part) => part.start <= end && part.end >= start);
    const whole = {
      start: Math.min(start, ...touching.map((part) => part.start)),
      end: Math.max(end, ...touching.map((part) => part.end)),
    };
    this.#parts = [...this.#parts.filter((part) => !touching.includes(part)), whole].sort((a, b) => a.start - b.start);
  }

  /** Forgets what lies at `end` and behind. */
  keepTo(end: number): void {
    const parts = this.#parts.map((part) => ({ start: part.start, end: Math.min(part.end, end) }));
    this.#parts = parts.filter((part) => part.start < part.end);
  }

  get bytes(): number {
    return this.#parts.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** How far the file is there from its beginning. */
  get prefix(): number {
    const [first] = this.#parts;
    return first?.start === 0 ? first.end : 0;
  }

  /** What is missing of a file of `size` bytes, in pieces of at most `mostBytes`. */
  missing(size: number, mostBytes: number): Range[] {
    const gaps: Range[] = [];
    let at = 0;
    for (const part of [...this.#parts, { start: size, end: size }]) {
      for (; at < part.start; at = Math.min(at + mostBytes, part.start)) {
        gaps.push({ start: at, end: Math.min(at + mostBytes, part.start) });
      }
      at = part.end;
    }
    return gaps;
  }
}
