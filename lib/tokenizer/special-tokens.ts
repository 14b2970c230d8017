/** The 1,091 special tokens of o200k_harmony: nine with a meaning, and reserved ones named after their ids. */

export const firstSpecialToken = 199_998;
export const lastSpecialToken = 201_088;

const named: Readonly<Record<number, string>> = {
  199998: "<|startoftext|>",
  199999: "<|endoftext|>",
  200002: "<|return|>",
  200003: "<|constrain|>",
  200005: "<|channel|>",
  200006: "<|start|>",
  200007: "<|end|>",
  200008: "<|message|>",
  200012: "<|call|>",
};

/** Text → id, in the order of ids. */
export const specialTokens: Readonly<Record<string, number>> = Object.freeze(
  Object.fromEntries(
    Array.from({ length: lastSpecialToken - firstSpecialToken + 1 }, (_, i) => {
      const id = firstSpecialToken + i;
      return [named[id] ?? `<|reserved_${id}|>`, id];
    }),
  ),
);

export const everySpecialId = Uint32Array.from(Object.values(specialTokens));
