import type { TokenLogprob } from "../binding.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import { tokenBytes } from "../tokenizer/token-table.js";
import type { SpelledToken } from "./visible-text.js";

export interface VisibleToken {
  id: number;
  /** The token's bytes; a character may be spread over several tokens. */
  bytes: number[];
  text: string;
  logprob: number;
}

/** A token of visible text and the likeliest ones in its place, likeliest first. */
export interface VisibleLogprob extends VisibleToken {
  top: VisibleToken[];
}

/** Control tokens are no text: they are not told among the likeliest either. */
export function logprobOf({ token, bytes }: SpelledToken): VisibleLogprob {
  const top = (token.top ?? []).filter((likely) => likely.token < firstSpecialToken).map(visibleToken);
  return { ...spelledToken(token.token, bytes, token.logprob), top };
}

function visibleToken({ token, logprob }: TokenLogprob): VisibleToken {
  return spelledToken(token, tokenBytes(token), logprob);
}

/** JSON has no infinity; -9999 is what OpenAI's API says of what cannot be. */
function spelledToken(id: number, bytes: Uint8Array, logprob: number): VisibleToken {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
  return { id, bytes: [...bytes], text, logprob: Number.isFinite(logprob) ? logprob : -9999 };
}
