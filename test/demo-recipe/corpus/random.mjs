/** One seeded stream for the whole corpus (mulberry32): the same seed writes the same files. */

let state = 0;

export function seed(value) {
  state = value >>> 0;
}

/** In [0, 1). */
export function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

export const integer = (low, high) => low + Math.floor(random() * (high - low + 1));
export const pick = (values) => values[Math.floor(random() * values.length)];
export const chance = (probability) => random() < probability;

/** Chooses between fixed variants of a text, the same way in every run. */
export function hash(text) {
  let h = 7;
  for (const character of text) h = (h * 31 + character.codePointAt(0)) >>> 0;
  return h;
}
