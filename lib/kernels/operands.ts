import { GptOssError, invalidArgument } from "../errors.js";
import type { SyntheticArray } from "../native/lab.js";
import type { OperationArguments, OperationName } from "./operations.js";
import { readArguments, synthetic } from "./request.js";

/** Random operands for a bench, with the sizes of the activations and weights of a model. Repeatable. */

type Dims = Record<string, unknown>;
type Operands = Record<string, SyntheticArray>;

/** Of an array of random float32 values: a gigabyte. */
const mostFloats = 2 ** 28;
const mostTokens = 2 ** 24;

/** Says what the addon makes: it takes long, and this thread has other work to do. */
class Maker {
  readonly #dims: Dims;
  #key = 0;

  constructor(dims: Dims) {
    this.#dims = dims;
  }

  /** A dimension. What is missing or wrong is the addon's to refuse: then sizes do not matter. */
  n(name: string, otherwise = 0): number {
    const value = this.#dims[name] ?? otherwise;
    return typeof value === "number" && value >= 0 && value <= 2 ** 24 ? Math.floor(value) : 0;
  }
  /** Values in bf16, around 0. */
  normal(elements: number, scale = 1): SyntheticArray {
    return synthetic("normal", elements, ++this.#key, scale);
  }
  /** Weights of a product: results have the size of the inputs. */
  weight(rows: number, cols: number): SyntheticArray {
    return this.normal(rows * cols, 1 / Math.sqrt(Math.max(cols, 1)));
  }
  norm(elements: number): SyntheticArray {
    return synthetic("norm", elements, ++this.#key, 0.1);
  }
  codes(elements: number): SyntheticArray {
    return synthetic("codes", elements / 2, ++this.#key, 1);
  }
  scales(elements: number, cols: number): SyntheticArray {
    return synthetic("scales", elements / 32, ++this.#key, 1 / Math.sqrt(Math.max(cols, 1)));
  }
  /** The argument `name`, in float32. */
  floats(name: string, elements: number, scale: number): SyntheticArray {
    if (elements > mostFloats) {
      const message = `Expected at most ${mostFloats} elements for a random ${name} but received ${elements}`;
      throw new GptOssError("INVALID_ARGUMENT", message, { field: name });
    }
    return synthetic("floats", elements, ++this.#key, scale);
  }
  /** For `embed`, tokens is an array; a bench gives their number. */
  tokens(): SyntheticArray {
    const { tokens = 1 } = this.#dims;
    const isCount = Number.isInteger(tokens) && (tokens as number) >= 1 && (tokens as number) <= mostTokens;
    if (typeof tokens === "number" && !isCount)
      throw invalidArgument("tokens", `an integer in [1, ${mostTokens}] or an Int32Array`, tokens);
    return synthetic("tokens", isCount ? (tokens as number) : 0, ++this.#key);
  }
  choices(): SyntheticArray {
    return synthetic("choices", 0, ++this.#key);
  }
}

const makers: { [name in OperationName]: (m: Maker) => Operands } = {
  embed: (m) => ({
    table: m.normal(m.n("vocab") * m.n("hidden")),
    tokens: m.tokens(),
  }),
  rmsNorm: (m) => ({ x: m.floats("x", m.n("rows") * m.n("hidden"), 1), weight: m.norm(m.n("hidden")) }),
  linear: (m) => ({
    x: m.normal(m.n("rows") * m.n("in")),
    weight: m.weight(m.n("out"), m.n("in")),
    bias: m.normal(m.n("out")),
  }),
  lmHead: (m) => ({ x: m.normal(m.n("rows") * m.n("hidden")), weight: m.weight(m.n("vocab"), m.n("hidden")) }),
  qkv: (m) => {
    const [q, kv, hidden] = [m.n("heads") * m.n("headDim", 64), m.n("kvHeads") * m.n("headDim", 64), m.n("hidden")];
    return {
      x: m.normal(m.n("tokens") * hidden),
      qWeight: m.weight(q, hidden),
      kWeight: m.weight(kv, hidden),
      vWeight: m.weight(kv, hidden),
      qBias: m.normal(q),
      kBias: m.normal(kv),
      vBias: m.normal(kv),
    };
  },
  attention: (m) => {
    const [row, cached] = [m.n("heads") * m.n("headDim", 64), m.n("kvHeads") * m.n("headDim", 64)];
    return {
      q: m.normal(m.n("tokens") * row, 2),
      k: m.normal(m.n("keys") * cached),
      v: m.normal(m.n("keys") * cached),
      sinks: m.normal(m.n("heads")),
    };
  },
  router: (m) => ({ logits: m.floats("logits", m.n("tokens") * m.n("experts"), 2) }),
  experts: (m) => {
    const [tokens, hidden, width, experts] = [m.n("tokens"), m.n("hidden"), m.n("intermediate"), m.n("experts")];
    const topK = Math.min(m.n("topK", 4), experts);
    return {
      x: m.normal(tokens * hidden),
      index: m.choices(),
      weight: m.floats("weight", tokens * topK, 1 / Math.max(topK, 1)),
      gateUpBlocks: m.codes(experts * 2 * width * hidden),
      gateUpScales: m.scales(experts * 2 * width * hidden, hidden),
      gateUpBias: m.normal(experts * 2 * width, 0.1),
      downBlocks: m.codes(experts * hidden * width),
      downScales: m.scales(experts * hidden * width, width),
      downBias: m.normal(experts * hidden, 0.1),
    };
  },
  sample: (m) => ({ logits: m.normal(m.n("rows") * m.n("vocab"), 2.5) }),
  swiglu: (m) => ({ x: m.floats("x", m.n("rows") * 2 * m.n("intermediate"), 4) }),
  mxfp4Dequantize: (m) => ({
    blocks: m.codes(m.n("rows") * m.n("cols")),
    scales: m.scales(m.n("rows") * m.n("cols"), m.n("cols")),
  }),
  mxfp4Gemm: (m) => ({
    x: m.normal(m.n("rows") * m.n("in")),
    blocks: m.codes(m.n("out") * m.n("in")),
    scales: m.scales(m.n("out") * m.n("in"), m.n("in")),
    bias: m.normal(m.n("out")),
  }),
};

/** The arguments with random arrays for those that are missing. */
export function withOperands<Name extends OperationName>(
  operation: Name,
  given: Partial<OperationArguments[Name]>,
): object {
  if (typeof operation !== "string" || !Object.hasOwn(makers, operation))
    throw invalidArgument("operation", `one of ${Object.keys(makers).join(", ")}`, operation);
  const dims = readArguments(operation, given);
  const made = makers[operation](new Maker(dims));
  const { tokens, ...rest } = { ...made, ...dims };
  return { ...rest, tokens: operation === "embed" && typeof tokens === "number" ? made.tokens : tokens };
}
