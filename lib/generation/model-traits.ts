import type { ModelConfig } from "../binding.js";
import { turnEnds } from "../harmony/tokens.js";
import { tokenizer } from "../tokenizer/tokenizer.js";

/** What of a model the meaning of some options depends on. */
export interface ModelTraits {
  vocab: number;
  /** Where a completion ends unless it is told otherwise. */
  stopTokens: readonly number[];
  /** It has the full vocabulary, so that there are reserved ids; they must not be drawn. */
  maskReserved: boolean;
}

/** Control and reserved ids exist only in the full vocabulary. Small test models use their ids for anything. */
export function modelTraits({ vocab, eosTokens }: Pick<ModelConfig, "vocab" | "eosTokens">): ModelTraits {
  const isFull = vocab === tokenizer.vocabSize;
  const stopTokens = isFull ? [...new Set([...eosTokens, ...turnEnds])] : eosTokens;
  return { vocab, stopTokens, maskReserved: isFull };
}
