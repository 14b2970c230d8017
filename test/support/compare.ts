/** The distance of an array from its reference, over all elements at once. */
export interface Difference {
  /** max |x - ref| / max |ref| */
  maxRel: number;
  /** rms(x - ref) / rms(ref) */
  rmsRel: number;
  maxAbs: number;
  cosine: number;
  /** Where |x - ref| is largest. */
  index: number;
}

export function difference(actual: ArrayLike<number>, reference: ArrayLike<number>): Difference {
  if (actual.length !== reference.length) throw new Error(`${actual.length} values against ${reference.length}`);
  let [maxAbs, maxReference, index, dot, squares, referenceSquares, errorSquares] = [0, 0, 0, 0, 0, 0, 0];
  for (let i = 0; i < reference.length; i++) {
    const x = actual[i]!;
    const ref = reference[i]!;
    const error = Math.abs(x - ref);
    if (!(error <= maxAbs)) [maxAbs, index] = [Number.isNaN(error) ? Number.POSITIVE_INFINITY : error, i];
    maxReference = Math.max(maxReference, Math.abs(ref));
    dot += x * ref;
    squares += x * x;
    referenceSquares += ref * ref;
    errorSquares += error * error;
  }
  return {
    maxRel: maxAbs / maxReference,
    rmsRel: Math.sqrt(errorSquares / referenceSquares),
    maxAbs,
    cosine: dot / Math.sqrt(squares * referenceSquares),
    index,
  };
}

/** @throws Error with shape, place, both values and all measures, when max_rel exceeds `tolerance`. */
export function expectClose(
  what: string,
  actual: ArrayLike<number>,
  reference: ArrayLike<number>,
  shape: readonly [number, number],
  tolerance: number,
): void {
  const d = difference(actual, reference);
  if (d.maxRel <= tolerance) return;
  const place = `[${Math.floor(d.index / shape[1])}, ${d.index % shape[1]}]`;
  throw new Error(
    `${what} [${shape.join(", ")}] differs most at ${place}: ${actual[d.index]} instead of ${reference[d.index]}; ` +
      `max_rel ${d.maxRel.toExponential(2)} > ${tolerance}, max_abs ${d.maxAbs.toExponential(2)}, ` +
      `rms_rel ${d.rmsRel.toExponential(2)}, cosine ${d.cosine}`,
  );
}
