/** Where a model was found. */
export type ModelSource = "demo" | "synthetic" | "path" | "huggingface-cache" | "lm-studio" | "ollama";

/** A place that was searched before the model was found. */
export interface TriedPlace {
  /** The kind of place. */
  source: ModelSource;
  /** Its folder; null where this account has none. */
  place: string | null;
  /** What was found there. */
  outcome: string;
  /** Whether it has a part of the model, such as a download that was interrupted. */
  isIncomplete: boolean;
}

/** What the place says about the model. A field that does not belong to the place is absent. */
export interface ModelDetails {
  /** Hugging Face and LM Studio: the repository, `owner/name`. */
  repository?: string;
  /** Hugging Face: the branch, the tag or the commit that was asked for. */
  revision?: string;
  /** Hugging Face: the commit of the snapshot. */
  commit?: string;
  /** Hugging Face and LM Studio: the GGUF file, the first one of several parts. */
  file?: string;
  /** Ollama: the file of the manifest. */
  manifest?: string;
  /** Ollama: the tag. */
  tag?: string;
  /** Ollama: the digest of the layer with the weights. */
  digest?: string;
}

/** The checkpoint that a model's name stands for. */
export interface ResolvedModel {
  /** The name as it was given. */
  name: string;
  /** The folder or file for the loader; the name itself for a synthetic model. */
  path: string;
  /** Where it was found. */
  source: ModelSource;
  /** What the place says about it. */
  details: ModelDetails;
  /** The places that were searched before. */
  tried: TriedPlace[];
}

/** A model that a place has, as a search in this place returns it. */
export interface Located {
  path: string;
  /** The size of its weight files. */
  bytes: number;
  details: ModelDetails;
}
