import { GptOssError, invalidArgument } from "../errors.js";
import type { SyntheticArray } from "../native/lab.js";
import type { OperationArguments, OperationName } from "./operations.js";
import { synthetic } from "./request.js";

/** Random operands for a bench, with the sizes of the activations and weights of a model. Repeatable. */

type Dims = Record<string, unknown>;
type Operands = Record<string, SyntheticArray | Float32Array | Int32Array>;

/** Random numbers in [0, 1), the same in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Of an array that JavaScript makes: a gigabyte. */
const mostFloats = 2 ** 28;

class Maker {
  readonly #dims: Dims;
  readonly random = random(1);
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
  floats(elements: number, scale = 1): Float32Array {
    if (elements > mostFloats) {
      const message = `Expected at most ${mostFloats} elements of a random array but received ${elements}`;
      throw new GptOssError("INVALID_ARGUMENT", message);
    }
    return Float32Array.from({ length: elements }, () => (this.random() * 2 - 1) * scale);
  }
}

const makers: { [name in OperationName]: (m: Maker) => Operands } = {
  embed: (m) => ({
    table: m.normal(m.n("vocab") * m.n("hidden")),
    tokens: Int32Array.from({ length: m.n("tokens", 1) }, () => Math.floor(m.random() * m.n("vocab"))),
  }),
  rmsNorm: (m) => ({ x: m.floats(m.n("rows") * m.n("hidden"), 2), weight: m.norm(m.n("hidden")) }),
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
  router: (m) => ({ logits: m.floats(m.n("tokens") * m.n("experts"), 4) }),
  experts: (m) => {
    const [tokens, hidden, width, experts] = [m.n("tokens"), m.n("hidden"), m.n("intermediate"), m.n("experts")];
    const topK = Math.min(m.n("topK", 4), experts);
    return {
      x: m.normal(tokens * hidden),
      index: draws(m, tokens, experts, topK),
      weight: new Float32Array(tokens * topK).fill(1 / topK),
      gateUpBlocks: m.codes(experts * 2 * width * hidden),
      gateUpScales: m.scales(experts * 2 * width * hidden, hidden),
      gateUpBias: m.normal(experts * 2 * width, 0.1),
      downBlocks: m.codes(experts * hidden * width),
      downScales: m.scales(experts * hidden * width, width),
      downBias: m.normal(experts * hidden, 0.1),
    };
  },
  sample: (m) => ({ logits: m.normal(m.n("rows") * m.n("vocab"), 2.5) }),
  swiglu: (m) => ({ x: m.floats(m.n("rows") * 2 * m.n("intermediate"), 8) }),
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

/** Calls of `experts` take so many choices in turn. */
export const expertDraws = 64;

/**
 * Choices of different experts for each token. Each draw has the expected number of different experts, so that all do
 * the same work. The first token takes its experts from a deck that goes round, so that a single token uses all experts
 * before it uses one again.
 */
function draws(m: Maker, tokens: number, experts: number, topK: number): Int32Array {
  const all = Array.from({ length: experts }, (_, i) => i);
  const shuffle = (values: number[]) => {
    for (let i = values.length - 1; i > 0; i--) {
      const j = Math.floor(m.random() * (i + 1));
      [values[i], values[j]] = [values[j]!, values[i]!];
    }
    return values;
  };
  const expected = Math.round(experts * (1 - (1 - topK / experts) ** tokens));
  const deck = shuffle([...all]);
  const out: number[] = [];
  for (let draw = 0; draw < expertDraws; draw++) {
    const first = Array.from({ length: topK }, (_, k) => deck[(draw * topK + k) % experts]!);
    let best: number[] = [];
    for (let tries = 0; tries < 1000; tries++) {
      const chosen = [...first];
      for (let t = 1; t < tokens; t++) chosen.push(...shuffle(all).slice(0, topK));
      best = chosen;
      if (new Set(chosen).size === expected) break;
    }
    for (const expert of best) out.push(expert);
  }
  return Int32Array.from(out);
}

/** The arguments with random arrays for those that are missing. */
export function withOperands<Name extends OperationName>(
  operation: Name,
  given: Partial<OperationArguments[Name]>,
): object {
  if (!Object.hasOwn(makers, operation))
    throw invalidArgument("operation", `one of ${Object.keys(makers).join(", ")}`, operation);
  if (typeof given !== "object" || given === null) throw invalidArgument("the dimensions", "an object", given, null);
  const dims = given as Dims;
  const made = makers[operation](new Maker(dims));
  const drawn = operation === "experts" && dims.index === undefined ? { draws: expertDraws } : {};
  const { tokens, ...rest } = { ...made, ...drawn, ...given } as Dims;
  // For `embed`, tokens is an array; a bench gives their number.
  return { ...rest, tokens: operation === "embed" && typeof tokens === "number" ? made.tokens : tokens };
}
