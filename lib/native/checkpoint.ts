/** Checkpoints as the addon reports them. */

/** The config of a checkpoint, as in its files. */
export interface ModelConfig {
  /** Transformer layers. */
  layers: number;
  /** Width of the hidden state. */
  hidden: number;
  /** Width of an expert between its two matrices. */
  intermediate: number;
  /** Query heads of a layer. */
  heads: number;
  /** Key and value heads of a layer. */
  kvHeads: number;
  /** Width of a head. */
  headDim: number;
  /** Experts of a layer. */
  experts: number;
  /** Experts that the router chooses for each token. */
  expertsPerToken: number;
  /** Rows of the embedding, which is also the number of logits of a position. */
  vocab: number;
  /** Tokens that a layer of type "sliding" sees. */
  slidingWindow: number;
  /** Added to the mean square in RMSNorm. */
  rmsEps: number;
  /** Bound of the clamp in SwiGLU. */
  swigluLimit: number;
  /** Factor of the sigmoid in SwiGLU. */
  swigluAlpha: number;
  /** The context length, in tokens, that the model was made for. */
  maxContext: number;
  /** Number of parameters. */
  parameters: number;
  /** The attention type of each layer. */
  layerTypes: ("sliding" | "full")[];
  /** Rotary embedding, with the scaling of YaRN. */
  rope: {
    /** Base of the frequencies. */
    theta: number;
    /** The factor by which the context is stretched. */
    factor: number;
    /** The number of rotations in the original context from which a frequency is unchanged. */
    betaFast: number;
    /** The number of rotations in the original context below which a frequency is divided by `factor`. */
    betaSlow: number;
    /** The context length in tokens before stretching. */
    originalContext: number;
    /** Whether the two bounds are rounded to whole dimensions. */
    truncate: boolean;
  };
  /** Ids that end a completion, as the checkpoint lists them. */
  eosTokens: number[];
}

/** The naming and packing of the tensors in the files of a checkpoint. `docs/formats.md` describes them. */
export type CheckpointLayout =
  | "huggingface"
  | "huggingface, bf16 experts"
  | "original"
  | "mlx"
  | "gguf"
  | "gguf (Ollama)"
  | "synthetic";

/** What converting weights changed. All is 0 while nothing was converted. */
export interface ConversionSummary {
  /** Values that were converted. */
  values: number;
  /** Values that are not the same afterwards. */
  changed: number;
  /** Root of the sum of squared errors, divided by that of the squared values. */
  relativeRms: number;
  /** The largest absolute error. */
  largestError: number;
  /** Name in the file of the tensor with that error, or null. */
  largestIn: string | null;
}

/** What the conversion of a checkpoint changed, for weights that the files hold in another format. */
export interface WeightConversion {
  /** Attention, embedding, head and router, rounded to bf16. Matrices that stay in Q8 are not converted. */
  dense: ConversionSummary;
  /**
   * Experts that were quantised to MXFP4. Those in a `packedWeights` file were converted when it was made. With
   * `expertWeights: "bf16"`, those that were rounded to bf16; experts that are stored as bf16 are not converted.
   */
  experts: ConversionSummary;
}

/** A tensor of a checkpoint. */
export interface TensorSummary {
  /** Its name. */
  name: string;
  /** The file that holds it. */
  file: string;
  /** The element type, such as `"BF16"` or `"Q8_0"`. `"U8"` are the blocks and scales of MXFP4. */
  dtype: string;
  /** The sizes of its dimensions, the slowest first. */
  shape: number[];
  /** Its size in bytes. */
  bytes: number;
}

/** The result of `inspectCheckpoint`. Sizes are in bytes. */
export interface CheckpointSummary {
  /** The folder or file. */
  path: string;
  /** The naming and packing of its tensors. */
  layout: CheckpointLayout;
  /** The total size of all weight files. */
  fileBytes: number;
  /** Its config. */
  model: ModelConfig;
  /** What loading it changes; null when the files hold its weights as they are used. */
  conversion: WeightConversion | null;
  /** Its weight files. */
  files: {
    /** The path of the file. */
    path: string;
    /** Its size. */
    bytes: number;
  }[];
  /** Tensors as loading reads them, after a conversion. Their names are canonical: those of the Hugging Face layout. */
  tensors: (TensorSummary & {
    /** Its name in the file; where it is made of several tensors, their names. */
    storedName: string;
  })[];
  /** Tensors as the files hold them. Empty where loading converts nothing: then `tensors` are those of the files. */
  stored: TensorSummary[];
  /**
   * Files with its experts packed for a CPU, beside it and in the user's cache folder. Each file is read completely.
   */
  packed: {
    /** The path of the file. */
    path: string;
    /** Its size. */
    bytes: number;
    /** The damage of the file. Null: none. */
    damage: string | null;
  }[];
}
