import type { Output } from "../output.js";

/**
 * Shows choices that are written at the same time one after the other: the first one that has not ended as it comes,
 * the later ones when it is their turn.
 */
export class ChoicesInOrder<T> {
  readonly #choices: { items: T[]; hasEnded: boolean }[];
  readonly #out: Output;
  readonly #show: (item: T) => void;
  #current = 0;

  constructor(count: number, out: Output, show: (item: T) => void) {
    this.#choices = Array.from({ length: count }, () => ({ items: [], hasEnded: false }));
    this.#out = out;
    this.#show = show;
    this.#begin();
  }

  push(choice: number, item: T): void {
    if (choice === this.#current) this.#show(item);
    else this.#choices[choice]!.items.push(item);
  }

  end(choice: number): void {
    this.#choices[choice]!.hasEnded = true;
    while (this.#choices[this.#current]?.hasEnded) {
      if (this.#choices.length > 1) this.#out.endLine();
      this.#current++;
      this.#begin();
      for (const item of this.#choices[this.#current]?.items.splice(0) ?? []) this.#show(item);
    }
  }

  /** Shows the choices that were cut off, too. */
  close(): void {
    for (const choice of this.#choices.keys()) if (choice >= this.#current) this.end(choice);
    // A program gets what the model wrote, to the last character.
    if (this.#out.isTerminal) this.#out.endLine();
  }

  /** One choice stands by itself; between several there is an empty line, and on a terminal each has its number. */
  #begin(): void {
    const count = this.#choices.length;
    if (count === 1 || this.#current >= count) return;
    if (this.#current > 0) this.#out.line();
    if (this.#out.isTerminal) this.#out.dim(`[${this.#current + 1} of ${count}]\n`);
  }
}
