import type { SpelledToken } from "../../chat/visible-text.js";
import type { PromptLogprobs } from "../../generation/prompt-logprobs.js";
import { tokenBytes } from "../../tokenizer/token-table.js";

/** A token of an echoed prompt. */
export interface EchoedToken {
  spelled: SpelledToken;
  /** False for the first one: nothing stands before it. */
  hasLogprob: boolean;
  /** The place in the text where it begins. */
  offset: number;
}

/** The tokens of an echoed prompt with `top` likeliest ones each, made when they are read. */
export function* echoedTokens(logprobs: PromptLogprobs, tokens: Uint32Array, top: number): Generator<EchoedToken> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let offset = 0;
  for (const [index, token] of tokens.entries()) {
    const entry = logprobs.at(index) ?? null;
    const bytes = tokenBytes(token);
    const generated = { token, text: "", logprob: entry?.logprob ?? 0, top: entry?.top.slice(0, top) ?? [], index: 0 };
    yield { spelled: { token: generated, bytes }, hasLogprob: entry !== null, offset };
    offset += decoder.decode(bytes, { stream: true }).length;
  }
}
