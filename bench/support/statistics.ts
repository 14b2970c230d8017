export interface Summary {
  median: number;
  min: number;
  max: number;
  repeats: number;
}

/** Median and both ends, with four digits: more than a timing is good for. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error("nothing was measured");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return { median: rounded(median), min: rounded(sorted[0]!), max: rounded(sorted.at(-1)!), repeats: values.length };
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
