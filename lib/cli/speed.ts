import { counted } from "./output.js";

/** How fast a prompt was read and an answer written. */
export interface Speed {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  /** Time to the first token. */
  firstMilliseconds: number;
  totalMilliseconds: number;
}

/** One line for people. Tokens from the cache took no time, so they do not count. */
export function speedLine(speed: Speed): string {
  const { promptTokens, cachedTokens, completionTokens, firstMilliseconds, totalMilliseconds } = speed;
  const read = promptTokens - cachedTokens;
  const known = cachedTokens > 0 ? ` (and ${cachedTokens} from the cache)` : "";
  // The first token comes with the prompt.
  const written = Math.max(0, completionTokens - 1);
  const writing = totalMilliseconds - firstMilliseconds;
  return `(prompt: ${counted(read, "token")}${known} in ${seconds(firstMilliseconds)}, ${perSecond(read, firstMilliseconds)}; answer: ${counted(completionTokens, "token")} in ${seconds(writing)}, ${perSecond(written, writing)})`;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

export function perSecond(tokens: number, milliseconds: number): string {
  return `${((1000 * tokens) / Math.max(1, milliseconds)).toFixed(1)} tokens/s`;
}
