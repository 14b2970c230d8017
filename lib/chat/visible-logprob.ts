import type { TokenLogprob } from "../binding.js";
import { firstSpecialToken } from "../tokenizer/special-tokens.js";
import { tokenBytes } from "../tokenizer/token-table.js";
import type { SpelledToken } from "./visible-text.js";

export interface VisibleToken {
  id: number;
  /** The bytes of the token. A character may be spread over several tokens. */
  bytes: number[];
  text: string;
  logprob: number;
}

/** A token of visible text and the likeliest tokens at its position, likeliest first. */
export interface VisibleLogprob extends VisibleToken {
  top: VisibleToken[];
}

/** Control tokens are not text, so they are left out of the likeliest tokens as well. */
export function logprobOf({ token, bytes }: SpelledToken): VisibleLogprob {
  const top = (token.top ?? []).filter((likely) => likely.token < firstSpecialToken).map(visibleToken);
  return { ...spelledToken(token.token, bytes, token.logprob), top };
}

function visibleToken({ token, logprob }: TokenLogprob): VisibleToken {
  return spelledToken(token, tokenBytes(token), logprob);
}

/** JSON has no infinity. OpenAI's API uses -9999 for an impossible token. */
function spelledToken(id: number, bytes: Uint8Array, logprob: number): VisibleToken {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
  return { id, bytes: [...bytes], text, logprob: Number.isFinite(logprob) ? logprob : -9999 };
}
