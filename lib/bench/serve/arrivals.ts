/**
 * Arrivals of a Poisson process: gaps between requests are exponential and independent. The first request arrives at 0.
 *
 * @param rate requests per second
 * @param random in [0, 1)
 * @returns milliseconds from the start, ascending
 */
export function poissonArrivals(rate: number, count: number, random: () => number): number[] {
  const arrivals: number[] = [];
  for (let at = 0; arrivals.length < count; at += (-Math.log(1 - random()) / rate) * 1000) arrivals.push(at);
  return arrivals;
}
