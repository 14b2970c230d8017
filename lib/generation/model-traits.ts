import type { ModelConfig } from "../binding.js";
import { turnEnds } from "../harmony/tokens.js";
import { tokenizer } from "../tokenizer/tokenizer.js";

/** The properties of a model that affect the meaning of some options. */
export interface ModelTraits {
  vocab: number;
  /** The tokens that end a completion by default. */
  stopTokens: readonly number[];
  /** True for a model with the full vocabulary: it has reserved ids, which must not be drawn. */
  maskReserved: boolean;
}

/** Control and reserved ids exist only in the full vocabulary. Small test models use their ids for anything. */
export function modelTraits({ vocab, eosTokens }: Pick<ModelConfig, "vocab" | "eosTokens">): ModelTraits {
  const isFull = vocab === tokenizer.vocabSize;
  const stopTokens = isFull ? [...new Set([...eosTokens, ...turnEnds])] : eosTokens;
  return { vocab, stopTokens, maskReserved: isFull };
}
