// The decisions and computations of gpu:check and metal:check, without a GPU or a clock: how long a step may take, how much a decode
// must read, and the share of a roof. test/gpu-check.test.ts runs them.

/**
 * Returns the seconds that step `index` may take: the remaining time without the reserve of later steps, at most the
 * step's `most`. 0: the step is left out.
 *
 * @param {{ least: number, most: number, reserve?: number }[]} steps `reserve` is `least` if absent
 */
export function allowance(steps, index, remaining) {
  const later = steps.slice(index + 1).reduce((sum, step) => sum + (step.reserve ?? step.least), 0);
  const step = steps[index];
  if (remaining < step.least) return 0;
  return Math.min(step.most, Math.max(step.least, remaining - later));
}

/** Values of a full-shape model, with the names of `engine.info.model`. */
function counts(model) {
  const { layers, hidden, intermediate, heads, kvHeads, headDim, experts, vocab } = model;
  const attention = hidden * (heads + 2 * kvHeads) * headDim + heads * headDim * hidden;
  return {
    dense: layers * (attention + hidden * experts) + vocab * hidden,
    expert: 3 * hidden * intermediate,
    expertBias: 2 * intermediate + hidden,
  };
}

/** Experts of a layer that at least one of `tokens` tokens chooses, when all are equally likely. */
export function distinctExperts({ experts, expertsPerToken }, tokens) {
  return experts * (1 - (1 - expertsPerToken / experts) ** tokens);
}

function fullLayers(model) {
  return model.layerTypes.filter((type) => type === "full").length;
}

/**
 * Bytes that a decode step of `batch` sequences must read with `context` tokens each in the cache: dense weights once
 * in bf16, the MXFP4 weights of the chosen experts (4.25 bits each, biases in float32), keys and values in bf16.
 */
export function stepBytes(model, batch, context) {
  const { layers, kvHeads, headDim, slidingWindow } = model;
  const { dense, expert, expertBias } = counts(model);
  const full = fullLayers(model);
  const keys = full * context + (layers - full) * Math.min(context, slidingWindow);
  return (
    2 * dense +
    layers * distinctExperts(model, batch) * ((expert * 17) / 32 + 4 * expertBias) +
    batch * keys * 2 * kvHeads * headDim * 2
  );
}

/**
 * Floating-point operations of `tokens` tokens; `keys` is the average number of keys per token in layers without a
 * window.
 */
export function tokenFlops(model, tokens, keys, heads = tokens) {
  const { layers, expertsPerToken, vocab, hidden, slidingWindow } = model;
  const { dense, expert } = counts(model);
  const full = fullLayers(model);
  const seen = full * keys + (layers - full) * Math.min(keys, slidingWindow);
  const perToken =
    2 * (dense - vocab * hidden + layers * expertsPerToken * expert) + 4 * seen * model.heads * model.headDim;
  return tokens * perToken + heads * 2 * vocab * hidden;
}

/**
 * The time that the slower of both roofs allows, divided by the measured time; 1 is as fast as this machine can be.
 * Where arithmetic was not measured, its roof does not count.
 */
export function roofShare({ bytes, flops = 0, seconds }, { readBytesPerSecond, mmaFlopsPerSecond = Infinity }) {
  const least = Math.max(bytes / readBytesPerSecond, flops / mmaFlopsPerSecond);
  return digits(least / seconds);
}

export function digits(value, count = 4) {
  return Number(value.toPrecision(count));
}

export function median(values) {
  if (values.length === 0) throw new Error("nothing was measured");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

/**
 * Tokens per second while all streams decode: from the last of the first tokens to the first of the last; undefined if
 * never.
 */
export function steadyRate(arrivals) {
  const from = Math.max(...arrivals.map((times) => times[0]));
  const to = Math.min(...arrivals.map((times) => times.at(-1)));
  if (!(to > from)) return undefined;
  const tokens = arrivals.reduce((sum, times) => sum + times.filter((time) => time > from && time <= to).length, 0);
  return (1000 * tokens) / (to - from);
}

/** Turns a line of oss_gpu_floor into a row of the result; only streams have bytes and a share. */
export function floorRow({ floor, ...line }, roofs) {
  const row = { bench: "floor", floor, ...line };
  if (!line.bytes || !roofs.readBytesPerSecond) return row;
  return { ...row, roofShare: digits(line.bytes / roofs.readBytesPerSecond / (line.microseconds / 1e6)) };
}

/** `N passed, N failed` of oss_tests, and its failures; undefined if it did not run to its end. */
export function nativeCounts(text) {
  const end = /^(\d+) passed, (\d+) failed$/m.exec(text);
  const failures = [...text.matchAll(/^FAIL .*(?:\n {2}.*)*/gm)].map(([block]) => block);
  return end ? { passed: Number(end[1]), failed: Number(end[2]), failures } : { passed: 0, failed: 1, failures };
}
